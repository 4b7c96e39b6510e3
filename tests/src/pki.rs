//! TLS material for a lab: its own certificate authority, and another one that nobody there should trust.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// Two certificate authorities and a directory for what they issue.
pub struct Pki {
    dir: PathBuf,
    lab: Authority,
    other: Authority,
}

/// Which of the two authorities signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The one in `ca.crt`, which the lab's agent and clients trust.
    Lab,
    /// Another one, `other-ca.crt`.
    Other,
}

/// When a client's certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Valid {
    /// Now, and for long.
    Now,
    /// It was, until the end of 2025.
    NoLonger,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

type Authority = CertifiedIssuer<'static, KeyPair>;

impl Pki {
    /// Makes both authorities and writes `ca.crt` and `other-ca.crt` into `dir`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn new(dir: &Path) -> anyhow::Result<Self> {
        let lab = authority("lab-ca")?;
        let other = authority("other-ca")?;
        write(&dir.join("ca.crt"), &lab.pem())?;
        write(&dir.join("other-ca.crt"), &other.pem())?;
        Ok(Self { dir: dir.to_owned(), lab, other })
    }

    /// The file with the CA certificate of `signer`.
    #[must_use]
    pub fn ca(&self, signer: Signer) -> PathBuf {
        match signer {
            Signer::Lab => self.dir.join("ca.crt"),
            Signer::Other => self.dir.join("other-ca.crt"),
        }
    }

    /// Issues a server certificate for `sans` (host names and IP addresses) into `NAME.crt` and `NAME.key`.
    ///
    /// # Errors
    /// A name that is not a host name, or a file that cannot be written.
    pub fn issue(&self, signer: Signer, name: &str, sans: &[String]) -> anyhow::Result<Issued> {
        let mut params =
            CertificateParams::new(sans).with_context(|| format!("name the certificate {name}"))?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(signer, name, params)
    }

    /// Issues a kubelet's certificate, as the lab's authority signs it, into `NAME.crt` and `NAME.key`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn issue_kubelets(&self, name: &str, valid: Valid) -> anyhow::Result<Issued> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, format!("system:node:{name}"));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        match valid {
            Valid::Now => {}
            Valid::NoLonger => {
                (params.not_before, params.not_after) =
                    (date_time_ymd(2025, 1, 1), date_time_ymd(2025, 12, 31));
            }
        }
        self.sign(Signer::Lab, name, params)
    }

    fn sign(&self, signer: Signer, name: &str, mut params: CertificateParams) -> anyhow::Result<Issued> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let authority = match signer {
            Signer::Lab => &self.lab,
            Signer::Other => &self.other,
        };
        let key = KeyPair::generate().context("generate a key")?;
        let certificate =
            params.signed_by(&key, authority).with_context(|| format!("sign the certificate {name}"))?;
        let issued =
            Issued { cert: self.dir.join(format!("{name}.crt")), key: self.dir.join(format!("{name}.key")) };
        write(&issued.cert, &certificate.pem())?;
        write(&issued.key, &key.serialize_pem())?;
        Ok(issued)
    }
}

fn authority(name: &str) -> anyhow::Result<Authority> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().context("generate a key")?;
    CertifiedIssuer::self_signed(params, key).with_context(|| format!("make the authority {name}"))
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

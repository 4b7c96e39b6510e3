//! What certificates say.

use std::{net::IpAddr, path::Path};

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use lb_core::doctor::{CertificateFact, Code, Facts, Origin};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use super::{Host, gap};

/// Where kubeadm puts the apiserver's.
const FILE: &str = "/etc/kubernetes/pki/apiserver.crt";

/// The most names of one certificate that are kept. A master's has a dozen.
const MOST_NAMES: usize = 1024;

/// This node's own apiserver's, if it is a master.
pub(super) fn look(host: &Host, facts: &mut Facts) {
    let text = match host.read(FILE) {
        Ok(None) => return,
        Ok(Some(text)) => text,
        Err(error) => return gap(facts, Code::CertNames, format!("read {FILE}"), error),
    };
    match of_pem(&text) {
        Ok(certificate) => facts.certificates.push(certificate),
        Err(error) => gap(facts, Code::CertNames, format!("read {FILE}"), error),
    }
}

/// The first one of a file: those after it are its authorities'.
fn of_pem(text: &str) -> anyhow::Result<CertificateFact> {
    let first = CertificateDer::pem_slice_iter(text.as_bytes()).next();
    let der = first.context("there is no certificate in it")?.map_err(|error| anyhow!("{error}"))?;
    parse(&der, Origin::File(Path::new(FILE).to_owned()))
}

/// Reads a certificate.
///
/// # Errors
/// When it is none.
pub(super) fn parse(der: &[u8], origin: Origin) -> anyhow::Result<CertificateFact> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| anyhow!("{error}"))?;
    let time = |seconds| Timestamp::from_second(seconds).context("its time is out of range");
    let validity = certificate.validity();
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let alternative = certificate.subject_alternative_name().map_err(|error| anyhow!("{error}"))?;
    for name in alternative.iter().flat_map(|names| &names.value.general_names).take(MOST_NAMES) {
        match name {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
            _ => {}
        }
    }
    Ok(CertificateFact {
        origin,
        names,
        addresses,
        not_before: time(validity.not_before.timestamp())?,
        not_after: time(validity.not_after.timestamp())?,
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn looked(root: &Path) -> Facts {
        let mut facts = Facts::default();
        look(&Host::new(root), &mut facts);
        facts
    }

    #[test]
    fn a_masters_own_certificate_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(looked(dir.path()).certificates.is_empty());
        let names = ["apiserver.cluster.local", "10.103.97.2", "fd00::2"].map(str::to_owned);
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 1, 2);
        let pem = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
        fs::create_dir_all(dir.path().join("etc/kubernetes/pki")).unwrap();
        fs::write(dir.path().join("etc/kubernetes/pki/apiserver.crt"), pem).unwrap();
        let facts = looked(dir.path());
        let certificate = &facts.certificates[0];
        assert_eq!(certificate.names, ["apiserver.cluster.local"]);
        let addresses: Vec<IpAddr> = ["10.103.97.2", "fd00::2"].map(|ip| ip.parse().unwrap()).into();
        assert_eq!(certificate.addresses, addresses);
        assert_eq!(certificate.not_after, "2030-01-02T00:00:00Z".parse().unwrap());
    }

    #[test]
    fn a_file_that_is_no_certificate_is_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/kubernetes/pki")).unwrap();
        let file = dir.path().join("etc/kubernetes/pki/apiserver.crt");
        for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            fs::write(&file, text).unwrap();
            let facts = looked(dir.path());
            assert!(facts.certificates.is_empty());
            assert_eq!(facts.gaps[0].code, Code::CertNames, "{text}");
        }
    }
}

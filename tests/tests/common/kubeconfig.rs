//! A kubelet's kubeconfig.

use std::path::{Path, PathBuf};

use lb_tests::Lab;
use lb_tests::lab::HOSTNAME;
use lb_tests::pki::{Signer, Valid};

/// Where [`write`] puts it.
pub fn path(lab: &Lab) -> PathBuf {
    lab.dir().join("kubelet.conf")
}

/// As kubeadm writes it: the server in it is the virtual address itself.
pub fn write(lab: &Lab, valid: Valid) {
    let identity = lab.pki().issue_kubelets("worker", valid).unwrap();
    std::fs::write(path(lab), text(&lab.pki().ca(Signer::Lab), &identity.cert, &identity.key)).unwrap();
}

/// Of a client with this certificate and key, who trusts this authority.
pub fn text(ca: &Path, cert: &Path, key: &Path) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {{server: 'https://{HOSTNAME}:6443', certificate-authority: {}}}}}]\n\
         users: [{{name: u, user: {{client-certificate: {}, client-key: {}}}}}]\n",
        ca.display(),
        cert.display(),
        key.display(),
    )
}

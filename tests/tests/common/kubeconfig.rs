//! A kubelet's kubeconfig.

use std::path::PathBuf;

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
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {{server: 'https://{HOSTNAME}:6443', certificate-authority: {}}}}}]\n\
         users: [{{name: u, user: {{client-certificate: {}, client-key: {}}}}}]\n",
        lab.pki().ca(Signer::Lab).display(),
        identity.cert.display(),
        identity.key.display(),
    );
    std::fs::write(path(lab), text).unwrap();
}

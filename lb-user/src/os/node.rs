//! This node, as others know it.

/// The node's name, uname(2): what kubelet registers it under unless told otherwise, so no two nodes of a cluster have the
/// same. A pod on the host's network has it too.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

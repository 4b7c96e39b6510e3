//! Following the cluster's own list of apiservers: asked of those that are up, as whom a kubeconfig says.
//!
//! `identity` reads the kubeconfig, `session` is one connection to one apiserver, `follower` goes from one to the next.

mod follower;
mod identity;
mod lines;
mod session;

pub use follower::{Follower, News};
pub use identity::IdentityError;
pub use session::SessionError;

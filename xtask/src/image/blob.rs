//! What an image is made of: bytes that are known by their digest.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Bytes of some kind.
pub(super) struct Blob {
    /// What they are: one of the media types of the OCI image format.
    media_type: &'static str,
    /// Themselves.
    pub(super) bytes: Vec<u8>,
}

impl Blob {
    pub(super) fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { media_type, bytes }
    }

    /// A document; its keys are in the order of the alphabet.
    pub(super) fn json(media_type: &'static str, document: &Value) -> Self {
        Self::new(media_type, document.to_string().into_bytes())
    }

    /// `sha256:...`
    pub(super) fn digest(&self) -> String {
        digest(&self.bytes)
    }

    /// Its path in the layout of an image, <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>.
    pub(super) fn path(&self) -> String {
        format!("blobs/{}", self.digest().replace(':', "/"))
    }

    /// How other documents refer to it, <https://github.com/opencontainers/image-spec/blob/main/descriptor.md>.
    pub(super) fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest(), "size": self.bytes.len()})
    }
}

/// `sha256:...` of some bytes.
pub(super) fn digest(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_sha256sum() {
        // printf abc | sha256sum
        let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(b"abc"), expected);
    }

    #[test]
    fn a_blob_lies_where_its_digest_says() {
        let blob = Blob::new("text/plain", b"abc".to_vec());
        assert!(blob.path().starts_with("blobs/sha256/ba7816bf"), "{}", blob.path());
        assert_eq!(blob.descriptor()["size"], 3);
    }
}

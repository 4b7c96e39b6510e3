//! The files of an image, in one tar: an OCI layout, which containerd and podman read, with docker's list of images beside it
//! for older tools.

use std::{collections::BTreeMap, io};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tar::{Builder, EntryType};

use super::{
    Blob, Reference,
    blob::digest,
    contents::{self, BINARY},
};

/// The media types of <https://github.com/opencontainers/image-spec/blob/main/media-types.md>.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What is said of the image.
pub(super) struct About<'a> {
    /// As Go names it: `amd64`.
    pub(super) architecture: &'a str,
    /// The version of lbctl.
    pub(super) version: &'a str,
    /// The commit that the binary was built from, where that is known.
    pub(super) revision: Option<String>,
    /// Seconds since 1970: the only date in the image.
    pub(super) date: u64,
}

/// An image in memory.
pub(super) struct Packed {
    /// The tar that is loaded.
    pub(super) tar: Vec<u8>,
    /// The manifest's digest.
    pub(super) digest: String,
}

/// Packs a binary.
///
/// # Errors
/// When the date is beyond the year 9999.
pub(super) fn pack(binary: &[u8], name: &Reference, about: &About<'_>) -> Result<Packed> {
    let created = i64::try_from(about.date).ok().and_then(|date| jiff::Timestamp::from_second(date).ok());
    let created = created.with_context(|| format!("failed to write {} as a date", about.date))?.to_string();

    let files = contents::tar(binary, about.date)?;
    let diff_id = digest(&files);
    let layer = Blob::new(LAYER, contents::gzip(&files)?);
    let config = Blob::json(CONFIG, &config(about, &created, &diff_id));
    let manifest = Blob::json(MANIFEST, &manifest(about, &created, &config, &layer));
    let docker = json!([{
        "Config": config.path(),
        "RepoTags": [name.to_string()],
        "Layers": [layer.path()],
    }]);
    let digest = manifest.digest();
    let documents = [
        ("index.json", index(about, name, &created, &manifest)),
        ("manifest.json", docker),
        ("oci-layout", json!({"imageLayoutVersion": "1.0.0"})),
    ];
    let mut entries: BTreeMap<String, Vec<u8>> =
        documents.map(|(path, document)| (path.to_owned(), document.to_string().into_bytes())).into();
    entries.extend([layer, config, manifest].map(|blob| (blob.path(), blob.bytes)));
    Ok(Packed { tar: tar(&entries, about.date)?, digest })
}

/// <https://github.com/opencontainers/image-spec/blob/main/config.md>
fn config(about: &About<'_>, created: &str, diff_id: &str) -> Value {
    json!({
        "architecture": about.architecture,
        "os": "linux",
        "created": created,
        "config": {
            "User": "0:0",
            "Env": ["PATH=/"],
            "Entrypoint": [format!("/{BINARY}")],
            "Cmd": ["run"],
            "WorkingDir": "/",
            "Labels": labels(about, created),
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "comment": format!("lbctl {}", about.version)}],
    })
}

/// <https://github.com/opencontainers/image-spec/blob/main/manifest.md>
fn manifest(about: &About<'_>, created: &str, config: &Blob, layer: &Blob) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
        "annotations": labels(about, created),
    })
}

/// What anybody can read of the image without running it:
/// <https://github.com/opencontainers/image-spec/blob/main/annotations.md>.
fn labels(about: &About<'_>, created: &str) -> BTreeMap<&'static str, String> {
    let mut labels = BTreeMap::from([
        ("org.opencontainers.image.title", "lbctl".to_owned()),
        (
            "org.opencontainers.image.description",
            "A load balancer for Kubernetes' apiservers that lives in every node's own kernel".to_owned(),
        ),
        ("org.opencontainers.image.version", about.version.to_owned()),
        ("org.opencontainers.image.licenses", "Apache-2.0".to_owned()),
        ("org.opencontainers.image.created", created.to_owned()),
    ]);
    labels.extend(about.revision.clone().map(|revision| ("org.opencontainers.image.revision", revision)));
    labels
}

/// The one image in the layout. containerd takes its name from an annotation of its own, everybody else from the standard's.
fn index(about: &About<'_>, name: &Reference, created: &str, manifest: &Blob) -> Value {
    let mut descriptor = manifest.descriptor();
    descriptor["platform"] = json!({"architecture": about.architecture, "os": "linux"});
    descriptor["annotations"] = json!({
        "io.containerd.image.name": name.in_full(),
        "org.opencontainers.image.ref.name": name.to_string(),
        "org.opencontainers.image.created": created,
    });
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]})
}

fn tar(entries: &BTreeMap<String, Vec<u8>>, date: u64) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for directory in ["blobs/", "blobs/sha256/"] {
        let mut header = contents::header(EntryType::Directory, 0o755, 0, date);
        tar.append_data(&mut header, directory, io::empty())?;
    }
    for (path, bytes) in entries {
        let mut header = contents::header(EntryType::Regular, 0o644, bytes.len(), date);
        tar.append_data(&mut header, path, bytes.as_slice())?;
    }
    tar.into_inner()
}

#[cfg(test)]
mod tests;

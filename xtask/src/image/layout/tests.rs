//! What others make of an image: every document refers to what it should, down to the binary.

use std::io::Read as _;

use flate2::read::GzDecoder;

use super::*;

const BYTES: &[u8] = b"\x7fELF and so on";

fn about() -> About<'static> {
    About { architecture: "amd64", version: "1.2.3", revision: Some("abc".into()), date: 1_700_000_000 }
}

fn name() -> Reference {
    "lbctl:1.2.3".parse().unwrap()
}

fn packed() -> Packed {
    pack(BYTES, &name(), &about()).unwrap()
}

/// The files of a tar.
fn files(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents).unwrap();
        (String::from_utf8(entry.path_bytes().into_owned()).unwrap(), contents)
    });
    entries.collect()
}

/// The blob that a descriptor stands for, after a look at its digest and size.
fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let digest_of = descriptor["digest"].as_str().unwrap();
    let bytes = &files[&format!("blobs/{}", digest_of.replace(':', "/"))];
    assert_eq!(digest(bytes), digest_of);
    assert_eq!(descriptor["size"], bytes.len());
    bytes
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The config and the uncompressed layer, found from the index as a reader finds them.
fn followed(packed: &Packed) -> (Value, Vec<u8>) {
    let files = files(&packed.tar);
    let index = parsed(&files["index.json"]);
    assert_eq!(index["manifests"][0]["digest"], packed.digest);
    let manifest = parsed(blob(&files, &index["manifests"][0]));
    assert_eq!(manifest["mediaType"], index["manifests"][0]["mediaType"]);
    let config = parsed(blob(&files, &manifest["config"]));
    let mut layer = Vec::new();
    GzDecoder::new(blob(&files, &manifest["layers"][0])).read_to_end(&mut layer).unwrap();
    (config, layer)
}

#[test]
fn the_index_leads_to_the_binary_that_was_packed() {
    let (config, layer) = followed(&packed());
    assert_eq!(config["rootfs"]["diff_ids"], json!([digest(&layer)]));
    let program = config["config"]["Entrypoint"][0].as_str().unwrap();
    assert_eq!(files(&layer)[program.trim_start_matches('/')], BYTES);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    assert_eq!(packed().tar, packed().tar);
    assert_eq!(packed().digest, packed().digest);
}

#[test]
fn another_binary_date_or_revision_is_another_image() {
    let digest = packed().digest;
    assert_ne!(pack(b"another", &name(), &about()).unwrap().digest, digest);
    assert_ne!(pack(BYTES, &name(), &About { date: 0, ..about() }).unwrap().digest, digest);
    assert_ne!(pack(BYTES, &name(), &About { revision: None, ..about() }).unwrap().digest, digest);
}

#[test]
fn a_name_does_not_change_the_image() {
    let other = "registry.example.com/lbctl:1".parse().unwrap();
    assert_eq!(pack(BYTES, &other, &about()).unwrap().digest, packed().digest);
}

#[test]
fn every_reader_finds_the_name_where_it_looks_for_it() {
    let files = files(&packed().tar);
    let annotations = &parsed(&files["index.json"])["manifests"][0]["annotations"];
    assert_eq!(annotations["org.opencontainers.image.ref.name"], "lbctl:1.2.3");
    assert_eq!(annotations["io.containerd.image.name"], name().in_full());
    assert_eq!(parsed(&files["manifest.json"])[0]["RepoTags"], json!(["lbctl:1.2.3"]));
    assert_eq!(parsed(&files["oci-layout"])["imageLayoutVersion"], "1.0.0");
}

#[test]
fn dockers_list_names_the_same_config_and_layer() {
    let files = files(&packed().tar);
    let docker = parsed(&files["manifest.json"]);
    let config = parsed(&files[docker[0]["Config"].as_str().unwrap()]);
    let mut layer = Vec::new();
    let packed = &files[docker[0]["Layers"][0].as_str().unwrap()];
    GzDecoder::new(&packed[..]).read_to_end(&mut layer).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer));
}

#[test]
fn the_config_says_what_runs_and_where_it_comes_from() {
    let (config, _) = followed(&packed());
    assert_eq!((&config["architecture"], &config["os"]), (&json!("amd64"), &json!("linux")));
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    assert_eq!(config["config"]["User"], "0:0");
    let labels = &config["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], "1.2.3");
    assert_eq!(labels["org.opencontainers.image.revision"], "abc");
    let (config, _) = followed(&pack(BYTES, &name(), &About { revision: None, ..about() }).unwrap());
    assert_eq!(config["config"]["Labels"].get("org.opencontainers.image.revision"), None);
}

#[test]
fn a_date_that_no_calendar_has_is_an_error() {
    assert!(pack(BYTES, &name(), &About { date: u64::MAX, ..about() }).is_err());
}

//! Texts that name things: references, digests, platforms, containers, paths.

use mica_core::image::Platform;
use mica_core::{BlobDigest, DiffId, Name, RelPath, TarName};
use mica_store::{ContainerId, ContainerName};
use mica_transport::Reference;

/// What is parsed prints as something that is parsed to the same.
pub fn reference(data: &[u8]) {
    if let Ok(path) = RelPath::parse_loose(data) {
        assert_eq!(RelPath::parse(path.as_bytes()).expect("a path is its own spelling"), path);
        assert!(path.components().all(|part| !part.is_empty() && part != b".." && part != b"." && !part.contains(&0)));
    }
    if let Ok(name) = Name::new(data) {
        assert!(RelPath::root().join(&name).depth() == 1);
        if let TarName::Whiteout(hidden) = TarName::of(&name) {
            assert!([b".wh.", hidden.as_bytes()].concat() == data);
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(reference) = Reference::parse(text) {
        assert_eq!(Reference::parse(&reference.to_string()).expect("a reference is its own spelling"), reference);
        assert_eq!(Reference::parse(&reference.familiar()).expect("so is its short form"), reference);
        assert!(reference.tag().is_none_or(Reference::is_tag));
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().expect("a platform is its own spelling"), platform);
    }
    if let Ok(digest) = text.parse::<BlobDigest>() {
        assert_eq!(digest.to_string(), text);
        assert_eq!(BlobDigest::from_hex(&digest.hex()).expect("its digits are digits"), digest);
    }
    if let Ok(layer) = DiffId::from_hex(text) {
        assert_eq!(layer.hex(), text);
    }
    if let Ok(name) = ContainerName::new(text) {
        assert!(Name::new(name.as_str().as_bytes()).is_ok(), "a container's name is no file's");
    }
    if let Some(id) = ContainerId::parse(text) {
        assert_eq!(id.as_str(), text);
    }
}

//! Docker archives of the oldest kind.

use super::*;

const BASE: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const TOP: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// What Docker 1.9 wrote of one layer.
fn part(id: &str, parent: Option<&str>, command: &str) -> Value {
    let mut part = json!({
        "id": id, "created": "2015-10-31T22:22:56.015925234Z", "docker_version": "1.9.1", "architecture": "amd64",
        "os": "linux", "config": {"Hostname": "", "Cmd": ["sh"]}, "Size": 512,
        "container_config": {"Cmd": ["/bin/sh", "-c", command]}
    });
    if let Some(parent) = parent {
        part["parent"] = json!(parent);
    }
    part
}

/// Two layers; the upper one is `TOP`.
fn two(tar: TarBuilder) -> TarBuilder {
    tar.dir(BASE)
        .file(&format!("{BASE}/VERSION"), "1.0")
        .json(&format!("{BASE}/json"), &part(BASE, None, "ADD a"))
        .file(&format!("{BASE}/layer.tar"), layer("a"))
        .json(&format!("{TOP}/json"), &part(TOP, Some(BASE), "ADD b"))
        .file(&format!("{TOP}/layer.tar"), layer("b"))
}

fn repositories(id: &str) -> TarBuilder {
    TarBuilder::new().json("repositories", &json!({"busybox": {"1.0": id, "latest": id}}))
}

#[test]
fn the_oldest_archives_are_read_with_a_config_as_docker_makes_it() {
    let bytes = two(repositories(TOP)).bytes();
    let source = open_archive(file(&bytes)).unwrap();
    let images = source.images().unwrap();
    let [image] = images.as_slice() else { panic!("{images:?}") };
    assert_eq!(names(image), ["busybox:1.0", "busybox:latest"]);
    assert_eq!(read_layers(&*source, image).unwrap(), [layer("a"), layer("b")]);
    let said: Value = serde_json::from_slice(&image.config).unwrap();
    let step =
        |by: &str| json!({"created": "2015-10-31T22:22:56.015925234Z", "created_by": format!("/bin/sh -c {by}")});
    assert_eq!(said["history"], json!([step("ADD a"), step("ADD b")]));
    assert_eq!(said["rootfs"]["diff_ids"], json!([DiffId::of(&layer("a")), DiffId::of(&layer("b"))]));
    assert_eq!(said["config"], json!({"Hostname": "", "Cmd": ["sh"]}));
    let keys: Vec<&str> = said.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["architecture", "config", "container_config", "created", "docker_version", "history", "os", "rootfs"];
    assert_eq!(keys, expected, "sorted, and nothing that was the layer's own");
}

#[test]
fn without_repositories_an_image_is_what_is_nobodys_parent() {
    let images = read(&two(TarBuilder::new()).bytes()).unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!((images[0].layers.len(), names(&images[0])), (2, vec![]));
    assert_eq!(images[0].id, read(&two(repositories(TOP)).bytes()).unwrap()[0].id);
}

#[test]
fn manifest_json_goes_before_repositories() {
    let config = config("amd64", &[&layer("a")]);
    let bytes = two(repositories(TOP))
        .file("c.json", &config)
        .json("manifest.json", &json!([docker_item("c.json", &["new:1"], &[&format!("{BASE}/layer.tar")])]))
        .bytes();
    let images = read(&bytes).unwrap();
    assert_eq!((images.len(), names(&images[0]), images[0].id), (1, vec!["new:1".to_owned()], ImageId::of(&config)));
}

#[test]
fn what_is_wrong_with_one_of_the_oldest_is_named() {
    let nowhere = read(&two(repositories(&"c".repeat(64))).bytes()).unwrap_err();
    assert!(matches!(&nowhere, TransportError::MissingBlob { name, .. } if name.starts_with("ccc")), "{nowhere:?}");
    let climbs = read(&two(repositories("../../etc")).bytes()).unwrap_err();
    assert!(matches!(&climbs, TransportError::BadDigest { what, .. } if what.contains("../../etc")), "{climbs:?}");
    let circle = repositories(TOP)
        .json(&format!("{TOP}/json"), &part(TOP, Some(BASE), ""))
        .json(&format!("{BASE}/json"), &part(BASE, Some(TOP), ""));
    assert!(matches!(read(&circle.bytes()), Err(TransportError::ParentLoop { id }) if id == TOP));
    let no_layer = repositories(TOP).json(&format!("{TOP}/json"), &part(TOP, None, ""));
    assert!(
        matches!(read(&no_layer.bytes()), Err(TransportError::MissingBlob { what, .. }) if what.starts_with("layer"))
    );
    let bad_name = two(TarBuilder::new().json("repositories", &json!({"Up": {"x": TOP}})));
    assert!(matches!(read(&bad_name.bytes()), Err(TransportError::BadName { name, .. }) if name == "Up:x"));
    let other = read_for(&two(repositories(TOP)).bytes(), "linux/arm64").unwrap_err();
    assert!(matches!(other, TransportError::NoPlatform { .. }), "{other:?}");
}

//! Images of as many layers as a union takes, and of one more.

use mica_core::DiffId;
use mica_testkit::needs;

use crate::build::{Made, dir, file as entry, tar};
use crate::common::Mica;
use crate::refusals::file;

/// A Docker archive of an image with that many layers: each has a file of its own, and all have one in common.
fn archive(layers: usize) -> Vec<u8> {
    let layer = |number: usize| tar(&[dir("d"), entry(format!("d/f{number}"), ""), entry("top", number.to_string())]);
    let tars: Vec<Vec<u8>> = (0..layers).map(layer).collect();
    let ids: Vec<String> = tars.iter().map(|tar| format!("\"{}\"", DiffId::of(tar))).collect();
    let names: Vec<String> = (0..layers).map(|number| format!("\"l{number}.tar\"")).collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    );
    let manifest = format!(r#"[{{"Config":"c.json","RepoTags":["n{layers}:1"],"Layers":[{}]}}]"#, names.join(","));
    let mut members: Vec<Made> = vec![entry("c.json", config), entry("manifest.json", manifest)];
    members.extend(tars.iter().enumerate().map(|(number, tar)| entry(format!("l{number}.tar"), tar)));
    tar(&members)
}

#[test]
fn stacks_of_1_127_128_129_and_500_layers_are_shown_and_501_are_refused_before_anything_is_mounted() {
    needs!(root, overlay);
    let mica = Mica::in_memory();
    let load = |layers: usize| {
        let path = file(&mica, "stack.tar", &archive(layers));
        mica.run(["load", "-q", "-i", &path]);
        format!("n{layers}:1")
    };
    for layers in [1, 127, 128, 129, 500] {
        let image = load(layers);
        mica.run(["create", "--name", "box", &image, "true"]);
        let merged = mica.run(["mount", "box"]).line();
        let top = std::fs::read_to_string(format!("{merged}/top"));
        let files = std::fs::read_dir(format!("{merged}/d")).unwrap().count();
        mica.run(["umount", "box"]);
        mica.run(["rm", "box"]);
        assert_eq!((top.unwrap(), files), ((layers - 1).to_string(), layers));
    }
    let image = load(501);
    let before = (mica.contents(), mounts());
    for args in [&["create", "--name", "box", &image, "true"][..], &["run", "--rm", &image, "true"]] {
        let error = mica.refuses(args);
        assert!(error.contains("501") && error.contains("500") && error.contains("\nhint: "), "{error}");
        assert_eq!((mica.contents(), mounts()), before, "{args:?}");
    }
    mica.assert_whole();
}

/// What is mounted for this process, tests beside this one left out.
fn mounts() -> Vec<String> {
    let all = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    all.lines().filter(|line| line.contains(" overlay ") && line.contains("mica")).map(str::to_owned).collect()
}

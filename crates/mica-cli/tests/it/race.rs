//! Several commands at once on one store, in processes of their own.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Stdio};

use mica_testkit::needs;

use crate::common::{Mica, Said};

/// Starts the command.
fn begin(mica: &Mica, args: &[&str]) -> Child {
    mica.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> Said {
    Said::of(child.wait_with_output().unwrap())
}

/// An archive of an image of three layers of some size, and the DiffIDs of its layers.
fn archive(mica: &Mica) -> (String, Vec<String>) {
    let source = Mica::new();
    let root = source.path("rootfs");
    fs::create_dir_all(root.join("files")).unwrap();
    let mut content = vec![0; 4 << 20];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut content).unwrap();
    fs::write(root.join("files/big"), content).unwrap();
    source.run(["import", "-q", root.to_str().unwrap(), "layers0"]);
    for number in 0..2 {
        let (below, above) = (format!("layers{number}"), format!("layers{}", number + 1));
        source.run(["create", "--name", "box", &below, "true"]);
        let merged = source.run(["mount", "box"]).line();
        for file in 0..100 {
            fs::write(Path::new(&merged).join(format!("files/{number}-{file}")), above.as_bytes()).unwrap();
        }
        source.run(["commit", "-q", "box", &above]);
        source.run(["rm", "-f", "box"]);
    }
    source.run(["tag", "layers2", "race"]);
    let path = mica.path("race.tar");
    source.run(["save", "-o", path.to_str().unwrap(), "race"]);
    let layers = source.run(["layers", "-q", "--no-trunc", "race"]).out.lines().map(str::to_owned).collect();
    (path.to_str().unwrap().to_owned(), layers)
}

/// How many layers this command unpacked itself: it says of each layer what became of it.
fn unpacked(said: &Said) -> usize {
    said.err.lines().filter(|line| line.starts_with("layer ") && line.contains(": done")).count()
}

#[test]
fn loads_of_one_archive_at_once_unpack_each_layer_once() {
    needs!(root);
    for loads in [2, 4, 4] {
        let mica = Mica::new();
        let (archive, layers) = archive(&mica);
        assert_eq!(layers.len(), 3);
        mica.run(["images"]);
        let running: Vec<Child> = (0..loads).map(|_| begin(&mica, &["load", "-i", &archive])).collect();
        let said: Vec<Said> = running.into_iter().map(end).collect();
        for one in &said {
            assert_eq!(one.status, 0, "{one:#?}");
            assert!(one.out.contains("Loaded image: race:latest"), "{one:#?}");
        }
        let times: usize = said.iter().map(unpacked).sum();
        assert_eq!(times, layers.len(), "each layer is unpacked by one of {loads}: {said:#?}");
        assert_eq!(mica.run(["images", "-q"]).out.lines().count(), 1);
        mica.assert_whole();
    }
}

#[test]
fn loads_go_well_while_others_remove_and_prune() {
    needs!(root);
    let mica = Mica::new();
    let (archive, _) = archive(&mica);
    mica.run(["images"]);
    let go_on = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        let removing = scope.spawn(|| {
            while go_on.load(std::sync::atomic::Ordering::Relaxed) {
                let said = mica.try_run(["rmi", "race"]);
                let refused = ["no such image", "used by a running operation\nhint: wait"];
                assert!(said.status == 0 || refused.iter().any(|why| said.err.contains(why)), "{said:#?}");
                mica.run(["system", "prune", "-f"]);
            }
        });
        for _ in 0..8 {
            let two = [begin(&mica, &["load", "-i", &archive]), begin(&mica, &["load", "-i", &archive])];
            for said in two.map(end) {
                assert_eq!(said.status, 0, "{said:#?}");
            }
        }
        go_on.store(false, std::sync::atomic::Ordering::Relaxed);
        removing.join().unwrap();
    });
    mica.assert_whole();
    mica.run(["load", "-q", "-i", &archive]);
    mica.run(["system", "prune", "-f"]);
    mica.assert_whole();
    assert_eq!(mica.run(["layers", "-q", "race"]).out.lines().count(), 3);
}

#[test]
fn of_two_containers_with_one_name_one_comes_to_be() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    mica.busybox("tiny");
    for _ in 0..5 {
        let two = [0, 1].map(|_| begin(&mica, &["run", "--name", "box", "tiny", "true"]));
        let mut said = two.map(end);
        said.sort_by_key(|said| said.status);
        assert_eq!((said[0].status, said[1].status), (0, 125), "{said:#?}");
        assert!(said[1].err.contains("box") && said[1].err.contains("hint: "), "{said:#?}");
        assert_eq!(mica.run(["ps", "-aq"]).out.lines().count(), 1);
        mica.run(["rm", "box"]);
    }
    mica.assert_whole();
}

#[test]
fn eight_containers_of_one_image_run_at_once() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    mica.busybox("tiny");
    let script = "echo $0 > /mine; cat /mine; ls /etc | wc -l";
    let running: Vec<Child> =
        (0..8).map(|number| begin(&mica, &["run", "--rm", "tiny", "sh", "-c", script, &number.to_string()])).collect();
    for (number, child) in running.into_iter().enumerate() {
        let said = end(child);
        let mut lines = said.out.lines();
        assert_eq!((said.status, lines.next()), (0, Some(number.to_string().as_str())), "{said:#?}");
    }
    assert_eq!(mica.run(["ps", "-aq"]).out, "");
    mica.run(["system", "prune", "-f"]);
    mica.assert_whole();
}

#[test]
fn a_container_that_is_removed_by_force_ends_by_signal_nine() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    mica.busybox("tiny");
    for flags in [&["run", "--name", "box"][..], &["run", "--rm", "--name", "box"]] {
        let args = [flags, &["tiny", "sh", "-c", "echo ready; exec sleep 300"]].concat();
        let mut child = begin(&mica, &args);
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        mica.run(["rm", "-f", "box"]);
        let said = end(child);
        assert_eq!((said.status, said.err.as_str()), (137, ""), "{flags:?}: {said:#?}");
        assert_eq!(mica.run(["ps", "-aq"]).out, "");
    }
    mica.assert_whole();
}

#[test]
fn drivers_are_probed_while_other_commands_sweep() {
    needs!(root, program "busybox");
    let mica = Mica::new();
    mica.busybox("tiny");
    for _ in 0..6 {
        mica_sys::Dir::open(&mica.run_root()).unwrap().remove_tree(b"drivers").unwrap();
        let running: Vec<Child> = (0..8).map(|_| begin(&mica, &["create", "tiny", "true"])).collect();
        for child in running {
            let said = end(child);
            assert_eq!(said.status, 0, "{said:#?}");
        }
    }
}

//! What an entry costs: at most 200 bytes, in whatever tree and however it was looked at, with all that the allocator has for it.
//!
//! The heap is asked, so nobody else may use it: each test starts itself once more, alone in a process of its own.

use std::fs;
use std::process::Command;

use mica_sys::heap;

use super::*;

/// What the issue asks for.
const MOST: f64 = 200.0;

/// Set in the process that measures.
const ALONE: &str = "MICA_TEST_MEASURES_ALONE";

/// Directories, and the files in each.
#[derive(Debug, Clone, Copy)]
struct Shape {
    directories: usize,
    files: usize,
}

impl Shape {
    fn make(self) -> Stack {
        let stack = Stack::new(None, &[Literal::new()]);
        for directory in 0..self.directories {
            let path = stack.dirs.lowers[0].join(format!("directory-{directory}"));
            fs::create_dir(&path).unwrap();
            for file in 0..self.files {
                fs::write(path.join(format!("file-{file:05}")), b"x").unwrap();
            }
        }
        stack
    }

    fn entries(self) -> usize {
        self.directories * (self.files + 1)
    }
}

/// Lists all of a union as a client does by READDIRPLUS (`looks`), which then knows what it saw, or by READDIR.
fn walk(tree: &Tree, dir: &Arc<Node>, looks: bool) -> usize {
    let (mut directories, mut count) = (Vec::new(), 0);
    tree.list(dir, 0, looks, &mut |listed| {
        if listed.name != b"." && listed.name != b".." {
            count += 1;
            if let Some(node) = listed.node {
                assert!(node.remember() && tree.attributes(node).is_ok());
            }
            if listed.kind == FileKind::Directory {
                directories.push(listed.name.to_vec());
            }
        }
        true
    })
    .unwrap();
    for name in directories {
        let below = tree.lookup(dir, &name).unwrap().unwrap();
        count += walk(tree, &below, looks);
    }
    count
}

/// The bytes for each entry that a tree uses after `act`, measured in a process of its own by the test of this name.
fn bytes_alone(test: &str, shape: Shape, act: &dyn Fn(&Tree)) -> Option<f64> {
    if std::env::var_os(ALONE).is_some() {
        let stack = shape.make();
        let mut tree = stack.tree();
        // There are so many at most, whatever the tree.
        tree.handles = Handles::new(16);
        let before = heap::in_use()?;
        act(&tree);
        let used = heap::in_use()?.saturating_sub(before);
        println!("used={used}");
        return None;
    }
    let path = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let output = Command::new(std::env::current_exe().unwrap())
        .args([&path, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // A C library whose heap cannot be asked says nothing in the other process either.
    heap::in_use()?;
    let used = said.lines().find_map(|line| Some(line.split_once("used=")?.1.parse::<u32>().unwrap()));
    let used = used.expect("the test measures in a process of its own");
    let bytes = f64::from(used) / f64::from(u32::try_from(shape.entries()).unwrap());
    println!("{test}: {bytes:.1} bytes for each entry");
    Some(bytes)
}

fn look_at_all(shape: Shape) -> impl Fn(&Tree) {
    move |tree| assert_eq!(walk(tree, &tree.root().unwrap(), true), shape.entries())
}

#[test]
fn looked_at_in_directories_of_a_hundred() {
    needs!(root);
    let shape = Shape { directories: 200, files: 100 };
    let bytes = bytes_alone("looked_at_in_directories_of_a_hundred", shape, &look_at_all(shape));
    assert!(bytes.is_none_or(|bytes| bytes > 100.0 && bytes < MOST), "{bytes:?}");
}

#[test]
fn looked_at_in_directories_of_twenty() {
    needs!(root);
    let shape = Shape { directories: 500, files: 20 };
    let bytes = bytes_alone("looked_at_in_directories_of_twenty", shape, &look_at_all(shape));
    // A directory costs more than a file. For half a million entries that is a part of the 16 MiB.
    assert!(bytes.is_none_or(|bytes| bytes > 100.0 && bytes < MOST + 16.0), "{bytes:?}");
}

#[test]
fn looked_at_in_one_directory() {
    needs!(root);
    // As many as make a table of names half empty.
    let shape = Shape { directories: 1, files: 15_000 };
    let bytes = bytes_alone("looked_at_in_one_directory", shape, &look_at_all(shape));
    assert!(bytes.is_none_or(|bytes| bytes > 100.0 && bytes < MOST), "{bytes:?}");
}

#[test]
fn listed_alone() {
    needs!(root);
    let shape = Shape { directories: 200, files: 100 };
    let bytes = bytes_alone("listed_alone", shape, &|tree| {
        assert_eq!(walk(tree, &tree.root().unwrap(), false), shape.entries());
        tree.drop_all_idle();
    });
    assert!(bytes.is_none_or(|bytes| bytes < 60.0), "{bytes:?}");
}

#[test]
fn forgotten() {
    needs!(root);
    let shape = Shape { directories: 200, files: 100 };
    let bytes = bytes_alone("forgotten", shape, &|tree| {
        look_at_all(shape)(tree);
        for id in tree.table.all(|node| node.id != ROOT) {
            tree.forget(id, 1);
        }
        tree.drop_all_idle();
    });
    assert!(bytes.is_none_or(|bytes| bytes < 10.0), "{bytes:?}");
}

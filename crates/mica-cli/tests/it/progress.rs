//! Progress of whole commands: bars on a terminal, plain lines elsewhere, nothing with `-q`.

use std::path::Path;
use std::process::Command;

use mica_testkit::{OrdinaryUser, in_mount_namespace, needs};

use crate::common::{Mica, Said};

/// Whether something steers the terminal: a bar clears its line.
fn is_drawn(text: &str) -> bool {
    text.contains('\x1b')
}

/// The command on a terminal of `TERM`, by the program `script`.
fn on_terminal(mica: &Mica, program: &Path, user: Option<&OrdinaryUser>, term: &str, args: &str) -> String {
    let mut command = match user {
        Some(user) => user.command("script"),
        None => Command::new("script"),
    };
    command.args(["-qec", &format!("{} {args}", program.display()), "/dev/null"]);
    command.env("MICA_ROOT", mica.root()).env("MICA_RUN_ROOT", mica.run_root()).env("TERM", term);
    let said = Said::of(command.output().unwrap());
    assert_eq!(said.status, 0, "{args}: {said:#?}");
    said.out
}

/// Goes through load, save, import and prune in each of the three ways.
fn shows_progress(mica: &Mica, program: &Path, user: Option<&OrdinaryUser>) {
    // The tree is the user's then, and the store has nothing of it.
    mica.busybox("one");
    mica.run(["rmi", "one"]);
    let tree = mica.path("busybox");
    let out = user.map_or_else(|| mica.path("out.tar"), |user| user.home().join("out.tar"));
    let (tree, out) = (tree.display(), out.display());
    let steps = [
        (format!("import {tree} one"), "root file system: done"),
        (format!("save -o {out} one"), "done"),
        ("rmi one".to_owned(), ""),
        (format!("load -i {out}"), "done"),
        ("rmi one".to_owned(), ""),
        ("system prune -f".to_owned(), "deleting: done"),
    ];
    for (line, ended) in &steps {
        let shown = on_terminal(mica, program, user, "xterm", line);
        assert!(shown.contains(ended) && is_drawn(&shown) != ended.is_empty(), "{line}: {shown:?}");
    }
    for (line, ended) in &steps {
        let said = mica.run(line.split(' '));
        assert!(said.err.contains(ended) && !is_drawn(&said.err) && !is_drawn(&said.out), "{line}: {said:#?}");
        assert!(!said.err.contains('\r'), "{line}: {said:#?}");
    }
    // A terminal that cannot be steered gets lines, too.
    for (line, ended) in &steps {
        let shown = on_terminal(mica, program, user, "dumb", line);
        assert!(shown.contains(ended) && !is_drawn(&shown), "{line}: {shown:?}");
    }
    for (line, ended) in steps.iter().filter(|(_, ended)| !ended.is_empty()) {
        let shown = on_terminal(mica, program, user, "xterm", &format!("{line} -q"));
        assert!(!is_drawn(&shown) && !shown.contains(ended), "{line} -q: {shown:?}");
        // The IDs, which are data.
        assert!(shown.lines().all(|line| line.starts_with("sha256:")), "{line} -q: {shown:?}");
    }
}

#[test]
fn progress_fits_what_it_is_shown_on() {
    needs!(program "busybox", program "script");
    let mica = Mica::new();
    shows_progress(&mica, Path::new(env!("CARGO_BIN_EXE_mica")), None);
}

#[test]
fn progress_of_a_user_fits_what_it_is_shown_on() {
    needs!(ordinary_user, program "busybox", program "script");
    in_mount_namespace(|| {
        let mica = Mica::of(OrdinaryUser::with_range());
        let program = mica.path("program");
        std::fs::write(&program, "").unwrap();
        let bound = Command::new("mount").args(["--bind", env!("CARGO_BIN_EXE_mica")]).arg(&program).status();
        assert!(bound.unwrap().success());
        mica.run(["images"]);
        shows_progress(&mica, &program, Some(mica.user()));
    });
}

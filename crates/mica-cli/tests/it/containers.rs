//! Containers made, run, compared, committed and removed.

use mica_testkit::needs;

use crate::common::Mica;

#[test]
fn a_command_runs_in_an_image_and_its_status_is_ours() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    mica.busybox("tiny");
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
        assert_eq!(mica.try_run(["run", "--rm", "tiny", "sh", "-c", script]).status, status, "{script}");
    }
    assert_eq!(mica.try_run(["run", "--rm", "tiny", "nothing-like-this"]).status, 127);
    assert_eq!(mica.try_run(["run", "--rm", "tiny", "/etc/passwd"]).status, 126);
    assert_eq!(mica.run(["ps", "-aq"]).out, "", "--rm leaves nothing");
    mica.assert_whole();
}

#[test]
fn what_a_container_changed_becomes_the_next_layer() {
    needs!(root, overlay, program "busybox");
    let mica = Mica::new();
    mica.busybox("tiny");
    mica.run([
        "run",
        "--name",
        "box",
        "tiny",
        "sh",
        "-c",
        "echo one > /etc/new; rm /etc/group; mkdir /srv; chmod 711 /root",
    ]);
    assert_eq!(
        mica.run(["diff", "box"]).out.lines().filter(|line| !line.starts_with("C /etc")).collect::<Vec<_>>().join(" "),
        "D /etc/group A /etc/new C /root A /srv"
    );
    let before = mica.run(["layers", "-q", "--no-trunc", "tiny"]).out;
    let id = mica.run(["commit", "-q", "-m", "a change", "-c", "CMD [\"cat\", \"/etc/new\"]", "box", "tiny:2"]).line();
    assert!(id.starts_with("sha256:"), "{id}");
    let after = mica.run(["layers", "-q", "--no-trunc", "tiny:2"]).out;
    assert!(after.ends_with(&before) && after.lines().count() == before.lines().count() + 1, "{after} over {before}");
    assert_eq!(mica.run(["run", "--rm", "tiny:2"]).out, "one\n");
    assert_eq!(mica.try_run(["run", "--rm", "tiny:2", "test", "-e", "/etc/group"]).status, 1);
    assert!(mica.run(["history", "--no-trunc", "tiny:2"]).out.contains("a change"));
    mica.assert_whole();
}

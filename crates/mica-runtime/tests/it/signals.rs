//! Signals on their way to the command.

use std::process::Stdio;
use std::time::Duration;

use mica_testkit::needs;

use crate::subject::{Case, Running, signal};
use crate::terminal::Screen;

/// Says what it got, and ends with 3 at the end of its input or after a while.
const LISTENER: &str = "for s in HUP INT QUIT USR1 USR2 ALRM TERM; do trap \"echo $s; exit 3\" $s; done; echo ready; \
    i=0; while [ $i -lt 200 ]; do sleep 0.05; i=$((i+1)); done";

pub(crate) fn signals_to_the_caller_reach_the_command() {
    needs!(root, program "busybox");
    for name in ["HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM"] {
        let mut running = Case::sh(LISTENER).spawn();
        running.read_until("ready\n");
        running.signal(name);
        assert_eq!(running.wait(), (3, format!("{name}\n")));
    }
}

pub(crate) fn signals_to_init_reach_the_command() {
    needs!(root, program "busybox");
    let mut running = Case::sh(LISTENER).spawn();
    running.read_until("ready\n");
    let pid = running.child.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    signal(children.trim().parse().unwrap(), "USR2");
    assert_eq!(running.wait(), (3, "USR2\n".to_owned()));
}

pub(crate) fn signals_that_the_caller_ignores_stay_ignored() {
    needs!(root, program "busybox");
    let case = Case::sh(LISTENER);
    let mut command = case.command_after("trap '' HUP");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut running = Running { child, _case: Some(case) };
    running.read_until("ready\n");
    running.signal("HUP");
    running.signal("TERM");
    assert_eq!(running.wait(), (3, "TERM\n".to_owned()), "a nohup is undone");
}

/// `^C` at a terminal that caller and command share, without `-t`: the terminal sends it to the caller's group alone.
pub(crate) fn an_interrupt_from_the_keyboard_arrives_once_and_at_the_whole_group() {
    needs!(root, program "busybox", program "setsid");
    let script = "n=0; trap 'n=$((n+1))' INT; echo ready; sh -c 'trap \"echo child; exit\" INT; while :; do sleep 0.05; done'; \
        sleep 0.3; echo count=$n";
    let case = Case::sh(script);
    let mut screen = Screen::of(&case, case.command_with_terminal());
    screen.look("ready");
    // The inner shell's trap, too, must be set.
    std::thread::sleep(Duration::from_millis(200));
    screen.type_in("\u{3}");
    screen.look("count=");
    screen.look("\n");
    let (code, seen) = screen.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("child"), "the child of the command's group got none: {seen}");
    assert!(seen.contains("count=1"), "{seen}");
}

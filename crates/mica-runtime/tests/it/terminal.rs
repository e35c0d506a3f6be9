//! Terminals, from both sides.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mica_sys::process::{Pty, WindowSize, open_pty, set_window_size};
use mica_testkit::needs;

use crate::subject::{Case, wait_until};

/// A terminal with a program at it, as a person would sit before.
#[derive(Debug)]
pub(crate) struct Screen {
    child: Child,
    master: File,
    slave: OwnedFd,
    seen: String,
    /// How much of it the last look went through.
    looked: usize,
}

impl Screen {
    /// Starts `command` of `case` with a new terminal for its standard input, output and error.
    pub(crate) fn of(case: &Case, mut command: Command) -> Self {
        let Pty { master, slave } = open_pty(File::open("/dev/pts").unwrap()).unwrap();
        set_window_size(&slave, WindowSize { rows: 30, columns: 90 }).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let child = case.started(command.stdin(end()).stdout(end()).stderr(end()));
        Self { child, master: File::from(master), slave, seen: String::new(), looked: 0 }
    }

    /// Reads what is shown until `word` has come since the last look.
    #[track_caller]
    pub(crate) fn look(&mut self, word: &str) {
        let since = Instant::now();
        loop {
            self.read();
            if let Some(at) = self.seen[self.looked..].find(word) {
                self.looked += at + word.len();
                return;
            }
            assert!(
                since.elapsed() < Duration::from_secs(10),
                "{word:?} is not seen after {} of {:?}",
                self.looked,
                self.seen
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn read(&mut self) {
        let mut bytes = [0; 4096];
        if let Ok(read) = self.master.read(&mut bytes) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        set_window_size(&self.slave, WindowSize { rows, columns }).unwrap();
    }

    /// The terminal's settings, in stty's words.
    pub(crate) fn settings(&self) -> String {
        let output = Command::new("stty").arg("-a").stdin(self.slave.try_clone().unwrap()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits for the program's end: its code, and all that was shown.
    #[track_caller]
    pub(crate) fn end(mut self) -> (i32, String) {
        let mut status = None;
        wait_until("the program has ended", || {
            self.read();
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.read();
        (status.unwrap().code().unwrap_or(-1), std::mem::take(&mut self.seen))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // ignored: it has ended, mostly.
        if let Ok(()) = self.child.kill() {}
        if let Ok(_status) = self.child.wait() {}
    }
}

fn with_terminal(script: &str) -> (Case, Screen) {
    let mut case = Case::sh(script);
    case.tty = true;
    let screen = Screen::of(&case, case.command_with_terminal());
    (case, screen)
}

pub(crate) fn a_terminal_is_the_containers_own() {
    needs!(root, program "busybox", program "setsid");
    let script = "tty; for fd in 0 1 2; do [ -t $fd ] && echo is$fd; done; echo to-tty >/dev/tty; echo to-console >/dev/console; \
        ls /dev/pts; stty size; ps -o pid,pgid,sid,args | grep '[s]h -c'; exit 4";
    let (_case, screen) = with_terminal(script);
    let (code, seen) = screen.end();
    assert_eq!(code, 4, "{seen}");
    for expected in [
        "/dev/pts/0\r\n",
        "is0\r\n",
        "is1\r\n",
        "is2\r\n",
        "to-tty\r\n",
        "to-console\r\n",
        "0     ptmx\r\n",
        "30 90\r\n",
    ] {
        assert!(seen.contains(expected), "{expected:?}: {seen}");
    }
}

pub(crate) fn its_size_follows_the_callers() {
    needs!(root, program "busybox", program "setsid");
    let script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done";
    let (_case, mut screen) = with_terminal(script);
    screen.look("ready");
    screen.resize(41, 123);
    screen.look("41 123");
    screen.resize(20, 60);
    screen.look("20 60");
}

pub(crate) fn the_callers_terminal_is_put_back() {
    needs!(root, program "busybox", program "setsid", program "stty");
    for (how, script) in [("its end", "echo ready; sleep 0.3"), ("a signal", "echo ready; exec sleep 100")] {
        let (_case, mut screen) = with_terminal(script);
        let before = screen.settings();
        screen.look("ready");
        let raw = screen.settings();
        assert!(raw.contains("-icanon") && raw.contains("-isig") && raw.contains("-echo "), "{raw}");
        if how == "a signal" {
            let setsid = screen.child.id();
            let subject = std::fs::read_to_string(format!("/proc/{setsid}/task/{setsid}/children")).unwrap();
            // setsid(1) forks only where it leads a group.
            let pid = subject.trim().parse().unwrap_or(setsid);
            crate::subject::signal(pid, "TERM");
        }
        wait_until("the terminal is as before", || screen.settings() == before);
        let (code, seen) = screen.end();
        assert_eq!(code, if how == "a signal" { 128 + 15 } else { 0 }, "{seen}");
    }
}

pub(crate) fn the_keyboard_is_played_to_the_command() {
    needs!(root, program "busybox", program "setsid");
    // ^C reaches the command as the terminal's own signal, and ^D ends its input.
    let script = "trap 'echo interrupted; : >/tmp/stop' INT; echo ready; read line; echo got $line; echo sleeping; \
        while [ ! -e /tmp/stop ]; do sleep 0.05; done; cat; echo end";
    let (_case, mut screen) = with_terminal(script);
    screen.look("ready");
    screen.type_in("some words\r");
    screen.look("got some words");
    screen.look("sleeping");
    screen.type_in("\u{3}");
    screen.look("interrupted");
    screen.type_in("\u{4}");
    let (code, seen) = screen.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("end\r\n"), "{seen}");
}

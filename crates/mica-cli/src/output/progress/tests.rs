use super::*;
use indicatif::TermLike;
use std::sync::Arc;

fn task(what: &str, total: Option<u64>) -> Task {
    Task { what: what.to_owned(), total }
}

fn lines(work: impl FnOnce(&dyn Progress)) -> String {
    let lines = Lines::new(Vec::new());
    work(&lines);
    String::from_utf8(lines.state.into_inner().unwrap().0).unwrap()
}

#[test]
fn each_task_that_ends_is_one_line() {
    let printed = lines(|progress| {
        let one = progress.begin(&task("layer 3f2a9c41d07b", Some(12_300_000)));
        let two = progress.begin(&task("layer 65ad0d468eb1", None));
        let three = progress.begin(&task("layer 000000000000", None));
        progress.advance(one, 12_000_000);
        progress.advance(two, 5);
        progress.advance(one, 300_000);
        progress.finish(two, Outcome::Present);
        progress.finish(one, Outcome::Done);
        progress.note("the network is the host's");
        progress.finish(three, Outcome::Failed);
        progress.finish(three, Outcome::Failed);
    });
    assert_eq!(
        printed,
        "layer 65ad0d468eb1: already there\nlayer 3f2a9c41d07b: done, 12.3MB\nthe network is the host's\n\
         layer 000000000000: failed\n"
    );
}

#[test]
fn a_task_of_no_bytes_is_just_done() {
    assert_eq!(lines(|p| p.finish(p.begin(&task("image", None)), Outcome::Done)), "image: done\n");
}

#[test]
fn names_steer_nothing() {
    let work = |progress: &dyn Progress| {
        progress.note("x\x1b[2J\ny");
        let id = progress.begin(&task("evil\x1b[31m\r", Some(100)));
        progress.advance(id, 50);
        progress.finish(id, Outcome::Done);
    };
    assert_eq!(lines(work), "x\\u{1b}[2J\\ny\nevil\\u{1b}[31m\\r: done, 50B\n");
    let printed = bars(work);
    assert!(printed.contains("evil\\u{1b}[31m\\r") && !printed.contains(['\x1b', '\r']), "{printed:?}");
}

#[test]
fn work_goes_on_when_nobody_can_be_told() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let lines = Lines::new(Gone);
    lines.note("x");
    let id = lines.begin(&task("layer", None));
    lines.finish(id, Outcome::Done);
    assert!(lines.state.into_inner().unwrap().1.running.is_empty());
}

/// A terminal that keeps what is written to it, without the moves of the cursor.
#[derive(Debug, Clone, Default)]
struct Paper(Arc<Mutex<String>>);

impl TermLike for Paper {
    fn width(&self) -> u16 {
        100
    }
    fn height(&self) -> u16 {
        24
    }
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)?;
        self.write_str("\n")
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        lock(&self.0).push_str(text);
        Ok(())
    }
    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_str(std::str::from_utf8(bytes).unwrap())?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn bars(work: impl FnOnce(&dyn Progress)) -> String {
    let paper = Paper::default();
    let bars = Bars::new(ProgressDrawTarget::term_like(Box::new(paper.clone())), paper.clone());
    work(&bars);
    drop(bars);
    Arc::into_inner(paper.0).unwrap().into_inner().unwrap()
}

#[test]
fn a_bar_shows_how_far_a_task_is_and_a_line_how_it_ended() {
    let printed = bars(|progress| {
        let known = progress.begin(&task("layer 3f2a9c41d07b", Some(2_000_000)));
        let unknown = progress.begin(&task("layer 65ad0d468eb1", None));
        progress.advance(known, 1_000_000);
        progress.advance(unknown, 3_000);
        // Bars are drawn ten times a second.
        std::thread::sleep(Duration::from_millis(500));
        progress.advance(known, 0);
        progress.note("a note");
        progress.finish(unknown, Outcome::Done);
        progress.finish(known, Outcome::Done);
    });
    for part in [
        "layer 3f2a9c41d07b [===============>              ] 1MB/2MB",
        "layer 65ad0d468eb1 3kB",
        "a note\n",
        "layer 65ad0d468eb1: done, 3kB\n",
        "layer 3f2a9c41d07b: done, 1MB\n",
    ] {
        assert!(printed.contains(part), "{part:?} is not in {printed:?}");
    }
    assert!(printed.ends_with('\n'), "{printed:?}");
}

#[test]
fn work_that_moves_no_bar_shows_its_time() {
    for (seconds, shown) in [(0, ""), (1, ""), (2, ", 2 s"), (59, ", 59 s"), (60, ", 1 min 0 s"), (185, ", 3 min 5 s")]
    {
        assert_eq!(taken(Duration::from_secs(seconds)), shown);
    }
    let printed = bars(|progress| {
        let flushing = progress.begin(&task("layer 3f2a9c41d07b", Some(2_000_000)));
        let deleting = progress.begin(&task("deleting", None));
        progress.advance(flushing, 2_000_000);
        std::thread::sleep(Duration::from_millis(2600));
        progress.finish(deleting, Outcome::Done);
        progress.finish(flushing, Outcome::Done);
    });
    assert!(printed.contains("2MB/2MB, 2 s") && printed.contains("deleting, 2 s"), "{printed:?}");
    assert!(!printed.contains("deleting 0B"), "{printed:?}");
}

//! Progress on standard error: bars on a terminal, a line for each finished task elsewhere, nothing when asked to be quiet.
//!
//! Bars are only of what is being worked on. A task that ends leaves the same line as it leaves in a log, and the bars stay below the lines, so
//! that an image of a hundred layers does not need a hundred lines of terminal.

use super::{plain, size};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use mica_engine::progress::{Outcome, Progress, Silent, Task, TaskId};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a bar is drawn, also when nothing comes: its time goes on.
const TICK: Duration = Duration::from_millis(100);

/// The progress that fits standard error.
pub(crate) fn on_stderr(quiet: bool) -> Box<dyn Progress> {
    if quiet {
        return Box::new(Silent);
    }
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if io::stderr().is_terminal() && !dumb {
        Box::new(Bars::new(ProgressDrawTarget::stderr(), io::stderr()))
    } else {
        Box::new(Lines::new(io::stderr()))
    }
}

/// Tasks under way, by the number that each was given.
#[derive(Debug)]
struct Tasks<T> {
    next: u64,
    running: BTreeMap<u64, T>,
}

impl<T> Tasks<T> {
    const fn new() -> Self {
        Self { next: 0, running: BTreeMap::new() }
    }

    fn add(&mut self, task: T) -> TaskId {
        let id = self.next;
        self.next += 1;
        self.running.insert(id, task);
        TaskId(id)
    }
}

/// What is behind the lock, also after a thread died with it: progress is only ever shown.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The line that a task leaves: `layer 3f2a9c41d07b: done, 12.3MB`.
fn ended(what: &str, bytes: u64, outcome: Outcome) -> String {
    match outcome {
        Outcome::Done if bytes == 0 => format!("{what}: done"),
        Outcome::Done => format!("{what}: done, {}", size::human(bytes)),
        Outcome::Present => format!("{what}: already there"),
        Outcome::Failed => format!("{what}: failed"),
    }
}

/// A line for each task that ends, and for each note.
struct Lines<W> {
    state: Mutex<(W, Tasks<(String, u64)>)>,
}

impl<W: Write> Lines<W> {
    fn new(out: W) -> Self {
        Self { state: Mutex::new((out, Tasks::new())) }
    }
}

/// Prints a line. When standard error takes no more there is nobody left to tell, and the work goes on.
fn print_line(out: &mut dyn Write, line: &str) {
    writeln!(out, "{line}").unwrap_or_default();
}

impl<W: Write + Send> Progress for Lines<W> {
    fn begin(&self, task: &Task) -> TaskId {
        lock(&self.state).1.add((plain::escape(&task.what).into_owned(), 0))
    }

    fn advance(&self, id: TaskId, bytes: u64) {
        if let Some((_, done)) = lock(&self.state).1.running.get_mut(&id.0) {
            *done = done.saturating_add(bytes);
        }
    }

    fn finish(&self, id: TaskId, outcome: Outcome) {
        let (out, tasks) = &mut *lock(&self.state);
        if let Some((what, bytes)) = tasks.running.remove(&id.0) {
            print_line(out, &ended(&what, bytes, outcome));
        }
    }

    fn note(&self, text: &str) {
        print_line(&mut lock(&self.state).0, &plain::escape(text));
    }
}

/// A bar for each task under way, below the lines of those that ended.
struct Bars<W> {
    bars: MultiProgress,
    /// The terminal that the bars are on.
    out: Mutex<W>,
    tasks: Mutex<Tasks<ProgressBar>>,
}

impl<W: Write> Bars<W> {
    fn new(target: ProgressDrawTarget, out: W) -> Self {
        let bars = MultiProgress::with_draw_target(target);
        Self { bars, out: Mutex::new(out), tasks: Mutex::new(Tasks::new()) }
    }

    /// Prints a line above the bars. Their own `println` fills the line with blanks instead of ending it, and whatever comes after the last
    /// would stand beside it.
    fn print(&self, line: &str) {
        self.bars.suspend(|| print_line(&mut *lock(&self.out), line));
    }
}

/// A bar where the end is known, a count where it is not.
fn style(total: Option<u64>) -> ProgressStyle {
    let template = match total {
        Some(_) => "{msg} [{bar:30}] {done}/{total}{taken}",
        None => "{msg}{done}{taken}",
    };
    let is_known = total.is_some();
    let done = move |state: &ProgressState, out: &mut dyn fmt::Write| match state.pos() {
        bytes if is_known => show_size(bytes, out),
        // Of some work nobody counts the bytes.
        0 => {}
        bytes => show(format_args!(" {}", size::human(bytes)), out),
    };
    let taken = |state: &ProgressState, out: &mut dyn fmt::Write| show(format_args!("{}", taken(state.elapsed())), out);
    let total = |state: &ProgressState, out: &mut dyn fmt::Write| show_size(state.len().unwrap_or(0), out);
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("done", done)
        .with_key("total", total)
        .with_key("taken", taken)
        .progress_chars("=> ")
}

fn show_size(bytes: u64, out: &mut dyn fmt::Write) {
    show(format_args!("{}", size::human(bytes)), out);
}

fn show(text: fmt::Arguments<'_>, out: &mut dyn fmt::Write) {
    out.write_fmt(text).unwrap_or_default();
}

/// How long a task has been at work, once that is long enough for somebody to ask whether it still is: a disk that flushes moves no bar.
fn taken(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0, 0..2) => String::new(),
        (0, seconds) => format!(", {seconds} s"),
        (minutes, seconds) => format!(", {minutes} min {seconds} s"),
    }
}

impl<W: Write + Send> Progress for Bars<W> {
    fn begin(&self, task: &Task) -> TaskId {
        let bar = match task.total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        bar.set_style(style(task.total));
        let bar = self.bars.add(bar);
        bar.set_message(plain::escape(&task.what).into_owned());
        bar.enable_steady_tick(TICK);
        lock(&self.tasks).add(bar)
    }

    fn advance(&self, id: TaskId, bytes: u64) {
        if let Some(bar) = lock(&self.tasks).running.get(&id.0) {
            bar.inc(bytes);
        }
    }

    fn finish(&self, id: TaskId, outcome: Outcome) {
        let bar = lock(&self.tasks).running.remove(&id.0);
        if let Some(bar) = bar {
            // A bar that is finished counts as full, whatever came.
            let bytes = bar.position();
            bar.finish_and_clear();
            self.bars.remove(&bar);
            self.print(&ended(&bar.message(), bytes, outcome));
        }
    }

    fn note(&self, text: &str) {
        self.print(&plain::escape(text));
    }
}

impl<W> Drop for Bars<W> {
    /// Takes away the bars of tasks that an error cut short; what is printed next starts on a clean line.
    fn drop(&mut self) {
        for bar in lock(&self.tasks).running.values() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests;

//! What long work tells whoever waits for it.

/// Something that takes a while and can be counted in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// What is worked on: `layer 3f2a9c41d07b`.
    pub what: String,
    /// How many bytes there are in all, where that is known.
    pub total: Option<u64>,
}

/// Which task is meant, within one [`Progress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaskId(pub u64);

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// There was nothing to do: what it would make was there.
    Present,
    /// It was given up.
    Failed,
}

/// Whoever waits. Called from several threads; nothing here may block for long.
pub trait Progress: Sync {
    /// A task begins.
    fn begin(&self, task: &Task) -> TaskId;
    /// `bytes` more of it are done.
    fn advance(&self, id: TaskId, bytes: u64);
    /// It ended.
    fn finish(&self, id: TaskId, outcome: Outcome);
    /// Something that the user should know and that is no error.
    fn note(&self, text: &str);
}

/// Nobody waits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &Task) -> TaskId {
        TaskId(0)
    }

    fn advance(&self, _: TaskId, _: u64) {}

    fn finish(&self, _: TaskId, _: Outcome) {}

    fn note(&self, _: &str) {}
}

/// A reader that tells how far it came.
pub(crate) struct Counted<'a, R> {
    pub(crate) inner: R,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) id: TaskId,
}

impl<R: std::io::Read> std::io::Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.advance(self.id, u64::try_from(read).unwrap_or(0));
        Ok(read)
    }
}

//! More threads for the device, when all of them wait for a disk.
//!
//! That no thread is free says little: a client that opens and closes files has two requests at a time now and then, and a busy machine lets
//! nobody finish. Threads that start for that and end again cost more than the requests, and the kernel, which wakes the one that has
//! waited longest, goes round among all that are left. So a thread comes only when none is free and for a while nothing was taken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use super::{ChannelError, Shared, device, lock};

/// How long nothing must have been taken.
const STUCK: Duration = Duration::from_millis(2);

/// After how many looks that found nobody stuck it goes to sleep again.
const QUIET: u32 = 50;

/// Who looks.
#[derive(Debug, Default)]
pub(super) struct Watch {
    awake: AtomicBool,
    over: AtomicBool,
    thread: OnceLock<Thread>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Watch {
    /// Starts the thread.
    pub(super) fn begin(shared: &Arc<Shared>) -> Result<(), ChannelError> {
        let its = Arc::clone(shared);
        let started = std::thread::Builder::new().name("mica-fuse-watch".to_owned()).spawn(move || watch(&its));
        let handle = started.map_err(ChannelError::Thread)?;
        shared.watch.thread.get_or_init(|| handle.thread().clone());
        *lock(&shared.watch.handle) = Some(handle);
        Ok(())
    }

    /// No thread is free.
    pub(super) fn wake(&self) {
        if !self.awake.load(Ordering::Relaxed) && !self.awake.swap(true, Ordering::AcqRel) {
            self.thread.get().inspect(|thread| thread.unpark());
        }
    }

    /// Ends the thread; after this it starts no other.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
        let handle = lock(&self.handle).take();
        if let Some(handle) = handle {
            handle.thread().unpark();
            // ignored: a thread that panicked has ended too.
            drop(handle.join());
        }
    }
}

fn watch(shared: &Arc<Shared>) {
    let over = || shared.watch.over.load(Ordering::Acquire) || shared.stopping.load(Ordering::Acquire);
    while !over() {
        if !shared.watch.awake.load(Ordering::Acquire) {
            std::thread::park();
            continue;
        }
        let mut quiet = 0;
        while quiet < QUIET && !over() {
            let before = shared.taken.load(Ordering::Relaxed);
            std::thread::sleep(STUCK);
            let stuck = shared.idle.load(Ordering::Relaxed) == 0 && shared.taken.load(Ordering::Relaxed) == before;
            quiet = if stuck { 0 } else { quiet + 1 };
            if stuck && shared.live.load(Ordering::Relaxed) < shared.most {
                // ignored: with the threads that there are it only takes longer.
                device::spawn(shared, false).ok();
            }
        }
        shared.watch.awake.store(false, Ordering::Release);
    }
}

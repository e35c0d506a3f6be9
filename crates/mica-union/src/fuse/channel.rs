//! How requests arrive and answers leave.
//!
//! A [`Channel`] has a [`Device`] that is mounted, and threads that read a request, let a [`Served`] answer it, and send the answer. It
//! ends when the mount does, or when it is [stopped](Channel::stop). Neither the order of requests nor the thread that gets one is
//! fixed; a thread has one buffer, in which a request stands and behind it its answer, and allocates nothing.
//!
//! * By the device, threads are as many as there are processors, and more for a while when all of them wait for a disk. They follow a
//!   client that is alone to its processor.
//! * By rings, where the kernel has them enabled (`/sys/module/fuse/parameters/enable_uring`, Linux 6.14), each processor's queue has some
//!   threads of its own. What rings do not carry comes by the device still, and everything does when the kernel refuses them.

mod buffer;
mod device;
mod follow;
mod notifier;
mod ring;
mod watch;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use mica_sys::fuse::Device;
use mica_sys::process::open_files_limit;
use mica_sys::{Errno, SysError};

use super::wire::{Caller, Dialect, Init, InitFlags, Out, Request, Wanted};
use follow::Follow;
pub use notifier::Notifier;
use watch::Watch;

/// Who answers requests.
///
/// Methods are called by many threads at a time. What panics in a build that unwinds is answered by `EIO`; a build for users does not
/// unwind, so nothing may.
pub trait Served: Send + Sync {
    /// What it wants of the kernel. Asked once, before anything else.
    fn wants(&self) -> Wanted {
        Wanted::default()
    }

    /// What the kernel and we agreed on, before the first request. Notices and backing files are taken from the first request on.
    fn started(&self, init: &Init, notifier: &Notifier) {
        let _unused = (init, notifier);
    }

    /// Answers a request: `out` has the answer, or the error is it. What is not known here is `ENOSYS`, which the kernel
    /// remembers for most operations and does not ask again.
    ///
    /// It is not called for `INIT`, `FORGET`, `BATCH_FORGET`, `INTERRUPT`, `NOTIFY_REPLY` and `DESTROY`.
    ///
    /// # Errors
    /// What the caller of the system call gets.
    fn answer(&self, caller: &Caller, request: Request<'_>, out: &mut Out<'_>) -> Result<(), Errno>;

    /// The kernel has forgotten so many look-ups of a node.
    fn forget(&self, node: u64, lookups: u64);

    /// The last request was answered. Called once.
    fn ended(&self) {}
}

/// How requests come from the kernel and answers go to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// By rings where the kernel has them enabled, else by the device.
    #[default]
    Auto,
    /// By `/dev/fuse` alone.
    Device,
    /// By rings; an error where the kernel has none.
    Ring,
}

/// How a channel works.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChannelOptions {
    /// By what.
    pub transport: Transport,
    /// How many threads there always are by the device; `None` for one a processor, two at least.
    pub threads: Option<NonZeroUsize>,
}

/// A channel that was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The first request does not come.
    #[error("cannot read the first request")]
    Read(#[source] SysError),
    /// The kernel does not take the answer to it.
    #[error("cannot answer the first request")]
    Write(#[source] SysError),
    /// The first request is not `INIT`, or no request at all.
    #[error("the first request is not the one that begins a mount")]
    NotInit,
    /// It speaks another protocol.
    #[error("the kernel speaks version {major}.{minor} of the protocol; 7.31 is needed, of Linux 5.4")]
    Version {
        /// Major version.
        major: u32,
        /// Minor version.
        minor: u32,
    },
    /// Rings were asked for, and the kernel does not offer them.
    #[error("the kernel has no rings for FUSE, or they are not enabled")]
    NoRings,
    /// Rings were asked for, and cannot be made.
    #[error("cannot make rings for FUSE")]
    Rings,
    /// No descriptor for a thread.
    #[error("cannot open the device once more")]
    Another(#[source] SysError),
    /// No thread.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// More threads than this are not started, however many wait.
const MOST_THREADS: usize = 32;

/// Each has the device and a pipe open, which is no more than a quarter of the descriptors that there may be.
fn most_threads(descriptors: u64) -> usize {
    usize::try_from(descriptors / 16).unwrap_or(MOST_THREADS).min(MOST_THREADS)
}

/// What threads are called, for those who look at a process.
const DEVICE_THREAD: &str = "mica-fuse";
const RING_THREAD: &str = "mica-fuse-ring";

/// A mount that is being served.
#[derive(Debug)]
pub struct Channel {
    shared: Arc<Shared>,
    init: Init,
}

/// What the threads of a channel have in common.
struct Shared {
    device: Arc<Device>,
    served: Arc<dyn Served>,
    dialect: Dialect,
    /// Bytes of a thread's buffer: the longest request, or a short one and the longest answer.
    buffer: usize,
    /// Threads that are never let go.
    lasting: usize,
    most: usize,
    stopping: AtomicBool,
    /// Threads that wait for a request.
    idle: AtomicUsize,
    /// Requests that threads of the device have taken.
    taken: AtomicU64,
    watch: Watch,
    follow: Follow,
    live: AtomicUsize,
    /// Threads that take requests by rings.
    seated: AtomicUsize,
    ended: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Goes with `threads`: the last thread ends.
    all_gone: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("device", &self.device).field("live", &self.live).finish_non_exhaustive()
    }
}

impl Channel {
    /// Begins to serve a device that is mounted: answers the kernel's first request and starts the threads. The mount answers when this
    /// returns.
    ///
    /// # Errors
    /// [`ChannelError`]. The device is closed then, and the mount answers `ENOTCONN`.
    pub fn start(device: Device, served: Arc<dyn Served>, options: ChannelOptions) -> Result<Self, ChannelError> {
        let device = Arc::new(device);
        let hello = device::hello(&device)?;
        let (wanted, page) = (served.wants(), mica_sys::fuse::page_size());
        let version = || ChannelError::Version { major: hello.offer.major, minor: hello.offer.minor };
        let agree = |rings| Init::agree(&hello.offer, &wanted, page, rings).ok_or_else(version);
        let with_rings = agree(options.transport != Transport::Device)?;
        let longest = u64::from(with_rings.max_write).max(u64::from(with_rings.max_pages) * u64::from(page));
        let lasting = options.threads.map_or_else(processors, NonZeroUsize::get);
        let shared = Arc::new(Shared {
            device,
            served,
            dialect: with_rings.dialect(),
            buffer: usize::try_from(longest).unwrap_or(usize::MAX).saturating_add(device::ROOM_BESIDE),
            lasting,
            most: most_threads(open_files_limit()).max(lasting),
            stopping: AtomicBool::new(false),
            idle: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            watch: Watch::default(),
            follow: Follow::new(),
            live: AtomicUsize::new(0),
            seated: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            threads: Mutex::new(Vec::new()),
            all_gone: Condvar::new(),
        });
        // Dropped by an error, the channel stops the threads that were started.
        let mut channel = Self { shared, init: with_rings };
        let shared = &channel.shared;
        let seats = match (with_rings.flags.contains(InitFlags::OVER_IO_URING), options.transport) {
            (true, _) => ring::Seats::make(shared)?,
            (false, Transport::Ring) => return Err(ChannelError::NoRings),
            (false, _) => None,
        };
        if seats.is_none() {
            if options.transport == Transport::Ring {
                return Err(ChannelError::Rings);
            }
            channel.init = agree(false)?;
        }
        shared.served.started(&channel.init, &Notifier::new(&shared.device));
        device::welcome(&shared.device, &hello, &channel.init)?;
        for _ in 0..lasting {
            device::spawn(shared, true)?;
        }
        Watch::begin(shared)?;
        if let Some(seats) = seats {
            seats.begin();
        }
        Ok(channel)
    }

    /// What was agreed on with the kernel.
    #[must_use]
    pub const fn init(&self) -> &Init {
        &self.init
    }

    /// What tells the kernel things unasked.
    #[must_use]
    pub fn notifier(&self) -> Notifier {
        Notifier::new(&self.shared.device)
    }

    /// How many threads there are now.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.live.load(Ordering::Relaxed)
    }

    /// The processor where the threads of the device stay, since their client is there; `None` where they roam.
    #[must_use]
    pub fn home(&self) -> Option<u16> {
        self.shared.follow.home()
    }

    /// How many threads take requests by rings now.
    #[must_use]
    pub fn seats(&self) -> usize {
        self.shared.seated.load(Ordering::Relaxed)
    }

    /// Waits until the mount is gone, or until another thread stops the channel.
    pub fn wait(&self) {
        let mut threads = lock(&self.shared.threads);
        while self.shared.live.load(Ordering::Acquire) > 0 {
            threads = self.shared.all_gone.wait(threads).unwrap_or_else(PoisonError::into_inner);
        }
        self.end(threads);
    }

    /// Reads no more requests, and returns when those that were read are answered. The mount is still there: who asks it waits, until
    /// the last copy of the device is closed, and then gets `ENOTCONN`.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        let mut threads = lock(&self.shared.threads);
        while self.shared.live.load(Ordering::Acquire) > 0 {
            threads.iter().filter(|thread| !thread.is_finished()).for_each(mica_sys::fuse::interrupt);
            // Again and again: a thread may have been about to wait.
            let waited = self.shared.all_gone.wait_timeout(threads, PAUSE);
            threads = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.end(threads);
    }

    fn end(&self, threads: MutexGuard<'_, Vec<JoinHandle<()>>>) {
        drop(threads);
        self.shared.watch.end();
        // What the watch has started last ends at its first look at the device. Threads take the lock when they go.
        let handles = std::mem::take(&mut *lock(&self.shared.threads));
        for thread in handles {
            // ignored: a thread that panicked has ended too.
            drop(thread.join());
        }
        if !self.shared.ended.swap(true, Ordering::AcqRel) {
            self.shared.served.ended();
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How long is waited between two looks at threads that are about to end.
const PAUSE: Duration = Duration::from_millis(2);

/// A list of handles is whole whoever panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One thread a processor, and two at least: one that waits for a disk leaves another.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, NonZeroUsize::get).max(2)
}

//! Requests by io_uring (Linux 6.14): a place for one request at a time, which the kernel fills and reads in the memory of the server.
//!
//! The kernel has a queue for every possible processor; a caller's request goes to the queue of the processor that it runs on. A
//! [`Seat`] is at one queue. It has a ring of its own, and one command in it that never rests: it is submitted with the answer to the last
//! request, and is completed when the next request stands in its memory.
//!
//! ```text
//!   Seat::new         io_uring_setup, memory
//!   Seat::turn        FUSE_IO_URING_CMD_REGISTER, wait …          the kernel writes request 1
//!   Seat::exchange    request 1 is read, its answer is written in its place
//!   Seat::commit
//!   Seat::turn        FUSE_IO_URING_CMD_COMMIT_AND_FETCH, wait …  the kernel reads answer 1, and writes request 2
//! ```
//!
//! The queues are used when each has a seat; until then, once `INIT` has said that there will be rings, all requests wait. So who says it
//! has made all seats before. Forgets, interrupts and notices go by the device always.

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::{Device, last_errno};
use crate::error::{Result, SysError};

/// `IORING_OP_URING_CMD`.
const OP_URING_CMD: u8 = 46;
/// `IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_NO_SQARRAY`: long entries, in their
/// order, by one thread, which alone runs what completes them. All are older than requests by rings.
const SETUP: u32 = 1 << 10 | 1 << 12 | 1 << 13 | 1 << 16;
/// `IORING_ENTER_GETEVENTS`.
const GETEVENTS: u32 = 1;
/// `IORING_OFF_SQ_RING`: both rings since 5.4.
const OFFSET_RINGS: u64 = 0;
/// `IORING_OFF_SQES`.
const OFFSET_ENTRIES: u64 = 0x1000_0000;
/// `FUSE_IO_URING_CMD_REGISTER`.
const REGISTER: u32 = 1;
/// `FUSE_IO_URING_CMD_COMMIT_AND_FETCH`.
const COMMIT_AND_FETCH: u32 = 2;
/// Bytes of each of the two headers in `struct fuse_uring_req_header`.
const HEADER: usize = 128;
/// Bytes of the whole: two headers and `struct fuse_uring_ent_in_out`.
const HEADERS: usize = HEADER + HEADER + 32;
/// Where `commit_id` and `payload_sz` are in it.
const COMMIT_ID: usize = HEADER + HEADER + 8;
const PAYLOAD_SIZE: usize = COMMIT_ID + 8;
/// Memory before the payload: headers and the list of the two, and pages stay whole.
const BEFORE_PAYLOAD: usize = 4096;

/// `struct io_sqring_offsets` and `struct io_cqring_offsets`, which differ in names alone here.
#[repr(C)]
#[derive(Default)]
struct Offsets {
    head: u32,
    tail: u32,
    mask: u32,
    entries: u32,
    /// `overflow` of the completions.
    flags: u32,
    /// `cqes` of the completions.
    dropped_or_cqes: u32,
    array_or_flags: u32,
    unused: u32,
    user_addr: u64,
}

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread: [u32; 2],
    features: u32,
    wq_fd: u32,
    unused: [u32; 3],
    sq: Offsets,
    cq: Offsets,
}

/// `struct io_uring_sqe` of 128 bytes with a `struct fuse_uring_cmd_req` in it.
#[repr(C)]
struct Submission {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    cmd_op: u32,
    unused: u32,
    addr: u64,
    len: u32,
    cmd_flags: u32,
    user_data: u64,
    unused2: u64,
    request_flags: u64,
    commit_id: u64,
    qid: u16,
    unused3: [u16; 3],
    rest: [u64; 7],
}

/// `struct io_uring_cqe`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Completion {
    user_data: u64,
    result: i32,
    flags: u32,
}

/// Memory of the kernel's making, given back when it is dropped.
#[derive(Debug)]
struct Memory {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: it is memory of the process; who has the value alone may use it.
unsafe impl Send for Memory {}

impl Memory {
    fn of_ring(ring: &OwnedFd, offset: u64, length: usize) -> std::result::Result<Self, Errno> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address where nothing is; the descriptor is open.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), length, access, MapFlags::SHARED | MapFlags::POPULATE, ring, offset)
        };
        Ok(Self { start: NonNull::new(start?.cast()).ok_or(Errno::NOMEM)?, length })
    }

    fn fresh(length: usize) -> std::result::Result<Self, Errno> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address where nothing is.
        let start = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), length, access, MapFlags::PRIVATE) };
        Ok(Self { start: NonNull::new(start?.cast()).ok_or(Errno::NOMEM)?, length })
    }

    /// The address of a `T` at `offset`; an error where it would not be inside, or not be aligned.
    fn at<T>(&self, offset: usize) -> std::result::Result<NonNull<T>, Errno> {
        let end = offset.checked_add(size_of::<T>()).filter(|end| *end <= self.length).ok_or(Errno::INVAL)?;
        if !offset.is_multiple_of(align_of::<T>()) || end == 0 {
            return Err(Errno::INVAL);
        }
        // SAFETY: the offset is inside of the memory, which was just checked.
        Ok(unsafe { self.start.byte_add(offset) }.cast())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it is what mmap gave, and nobody has a reference into it any more.
        let unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

/// Who has the memory of a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The server; the command is to be submitted next, with this operation.
    Ours(u32),
    /// The kernel: a command is under way.
    Kernels,
}

/// A place at a queue. It belongs to the thread that made it.
#[derive(Debug)]
pub struct Seat {
    // In the order of dropping: the ring's end ends the command, before its memory goes.
    ring: OwnedFd,
    /// Kept for the pointers into it.
    _rings: Memory,
    entries: Memory,
    /// `None` only while it is dropped.
    exchange: Option<Memory>,
    device: Arc<Device>,
    queue: u16,
    payload: usize,
    turn: Turn,
    submission_tail: NonNull<AtomicU32>,
    completion_head: NonNull<AtomicU32>,
    completion_tail: NonNull<AtomicU32>,
    completions: NonNull<Completion>,
    completion_mask: u32,
}

/// A request, and where its answer goes.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// Begins with the header of the request.
    pub header: &'a [u8],
    /// Begins with the operation's structure, where it has one.
    pub structure: &'a [u8],
    /// The rest of the request, and then the answer without its header.
    pub payload: &'a mut [u8],
    /// How many bytes of `payload` are the request's.
    pub length: usize,
}

impl Seat {
    /// Makes a ring for a place at the queue of a processor, with room for `payload` bytes of a request or an answer. Nothing is told to
    /// the device yet.
    ///
    /// # Errors
    /// `ENOSYS`, `EPERM` where the process may have no rings; `EINVAL` of a kernel that is too old; `ENOMEM`.
    pub fn new(device: &Arc<Device>, queue: u16, payload: usize) -> Result<Self> {
        Self::make(device, queue, payload).map_err(|errno| SysError::new("io_uring_setup", "/dev/fuse", errno))
    }

    fn make(device: &Arc<Device>, queue: u16, payload: usize) -> std::result::Result<Self, Errno> {
        let mut params = Params { flags: SETUP, ..Params::default() };
        // SAFETY: the call reads and writes an `io_uring_params` at the address, which is that of a local of its layout.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1_u32, &raw mut params) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(last_errno)?;
        // SAFETY: it is new and nobody else's.
        let ring = unsafe { OwnedFd::from_raw_fd(fd) };
        let size = |offset: u32, count: u32, each: usize| {
            let count = usize::try_from(count).ok()?.checked_mul(each)?;
            usize::try_from(offset).ok()?.checked_add(count)
        };
        let length = size(params.cq.dropped_or_cqes, params.cq_entries, size_of::<Completion>()).ok_or(Errno::NOMEM)?;
        let rings = Memory::of_ring(&ring, OFFSET_RINGS, length)?;
        let length = size(0, params.sq_entries, size_of::<Submission>()).ok_or(Errno::NOMEM)?;
        let entries = Memory::of_ring(&ring, OFFSET_ENTRIES, length)?;
        let exchange = Memory::fresh(BEFORE_PAYLOAD.checked_add(payload).ok_or(Errno::NOMEM)?)?;
        let offset = |offset: u32| usize::try_from(offset).map_err(|_| Errno::INVAL);
        let mask = rings.at::<u32>(offset(params.cq.mask)?)?;
        Ok(Self {
            submission_tail: rings.at(offset(params.sq.tail)?)?,
            completion_head: rings.at(offset(params.cq.head)?)?,
            completion_tail: rings.at(offset(params.cq.tail)?)?,
            completions: rings.at(offset(params.cq.dropped_or_cqes)?)?,
            // SAFETY: it is inside of the rings, is aligned, and does not change after the setup.
            completion_mask: unsafe { mask.read() },
            ring,
            _rings: rings,
            entries,
            exchange: Some(exchange),
            device: Arc::clone(device),
            queue,
            payload,
            turn: Turn::Ours(REGISTER),
        })
    }

    /// Gives the kernel the answer to the last request, if there was one, and waits for the next. A signal with a handler ends the
    /// wait, `EINTR`: the answer was given, and another turn waits on.
    ///
    /// # Errors
    /// `ENOTCONN`, `ECONNABORTED` when the mount is gone. Of the first turn: `EOPNOTSUPP` where rings are not enabled, or any other
    /// error by which the kernel refuses the seat; requests go by the device then, unless all queues have seats without it.
    pub fn turn(&mut self) -> std::result::Result<(), Errno> {
        let mut submit = match self.turn {
            Turn::Ours(operation) => {
                self.submit(operation)?;
                self.turn = Turn::Kernels;
                1
            }
            Turn::Kernels => 0,
        };
        loop {
            if let Some(completion) = self.completion() {
                self.turn = Turn::Ours(COMMIT_AND_FETCH);
                return if completion.result < 0 { Err(errno(completion.result)) } else { Ok(()) };
            }
            self.enter(submit)?;
            // Also when a signal has ended the wait: then the call says how many it took. With one to take and none there it does not wait.
            submit = 0;
        }
    }

    /// Puts the command where the kernel finds it.
    fn submit(&mut self, operation: u32) -> std::result::Result<(), Errno> {
        let exchange = self.exchange.as_ref().ok_or(Errno::BADF)?;
        let list = exchange.at::<[libc::iovec; 2]>(HEADERS)?;
        let payload = exchange.at::<u8>(BEFORE_PAYLOAD)?;
        let parts = [
            libc::iovec { iov_base: exchange.start.as_ptr().cast(), iov_len: HEADERS },
            libc::iovec { iov_base: payload.as_ptr().cast(), iov_len: self.payload },
        ];
        // SAFETY: the place is inside of the memory, aligned, and nobody else's while it is our turn.
        unsafe { list.write(parts) };
        let mut commit_id = [0; 8];
        if operation == COMMIT_AND_FETCH {
            commit_id.copy_from_slice(self.headers()?.get(COMMIT_ID..PAYLOAD_SIZE).ok_or(Errno::INVAL)?);
        }
        let entry = Submission {
            opcode: OP_URING_CMD,
            flags: 0,
            ioprio: 0,
            fd: self.device.as_fd().as_raw_fd(),
            cmd_op: operation,
            unused: 0,
            addr: list.as_ptr().expose_provenance() as u64,
            len: 2,
            cmd_flags: 0,
            user_data: 0,
            unused2: 0,
            request_flags: 0,
            commit_id: u64::from_ne_bytes(commit_id),
            qid: self.queue,
            unused3: [0; 3],
            rest: [0; 7],
        };
        let place = self.entries.at::<Submission>(0)?;
        // SAFETY: the ring has one entry, at its beginning; the kernel has read the one before, for it was completed.
        unsafe { place.write(entry) };
        // SAFETY: the tail is inside of the rings, which live as long as `self`; the kernel reads it as an atomic.
        let tail = unsafe { self.submission_tail.as_ref() };
        tail.store(tail.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        Ok(())
    }

    fn enter(&self, submit: u32) -> std::result::Result<(), Errno> {
        let no_mask = std::ptr::null::<libc::sigset_t>();
        let ring = self.ring.as_raw_fd();
        // SAFETY: the call takes what was submitted, whose memory lives until it is completed (`drop`), and no mask.
        let done = unsafe { libc::syscall(libc::SYS_io_uring_enter, ring, submit, 1_u32, GETEVENTS, no_mask, 0_usize) };
        if done < 0 { Err(last_errno()) } else { Ok(()) }
    }

    fn completion(&mut self) -> Option<Completion> {
        // SAFETY: head and tail are inside of the rings, which live as long as `self`; the kernel writes the tail as an atomic.
        let tail = unsafe { self.completion_tail.as_ref() }.load(Ordering::Acquire);
        // SAFETY: as above; only this thread writes the head.
        let head = unsafe { self.completion_head.as_ref() };
        let at = head.load(Ordering::Relaxed);
        if at == tail {
            return None;
        }
        let index = usize::try_from(at & self.completion_mask).ok()?;
        // SAFETY: the index is below the number of completions, all of which are inside of the rings.
        let place = unsafe { self.completions.add(index) };
        // SAFETY: the kernel has written it before the tail.
        let completion = unsafe { place.read() };
        head.store(at.wrapping_add(1), Ordering::Release);
        Some(completion)
    }

    fn headers(&self) -> std::result::Result<&[u8], Errno> {
        let exchange = self.exchange.as_ref().filter(|_| self.turn != Turn::Kernels).ok_or(Errno::BUSY)?;
        // SAFETY: the memory begins with the headers, was zero at first, and is ours now.
        Ok(unsafe { std::slice::from_raw_parts(exchange.start.as_ptr(), HEADERS) })
    }

    /// The request of this turn.
    ///
    /// # Errors
    /// `EBUSY` while it is the kernel's turn.
    pub fn exchange(&mut self) -> std::result::Result<Exchange<'_>, Errno> {
        let mut length = [0; 4];
        length.copy_from_slice(self.headers()?.get(PAYLOAD_SIZE..PAYLOAD_SIZE + 4).ok_or(Errno::INVAL)?);
        let length = usize::try_from(u32::from_ne_bytes(length)).unwrap_or(usize::MAX).min(self.payload);
        let place = self.exchange.as_ref().ok_or(Errno::BUSY)?.at::<u8>(BEFORE_PAYLOAD)?;
        // SAFETY: the payload is behind the headers to the end of the memory, and `self` is borrowed mutably as long as the slice.
        let payload = unsafe { std::slice::from_raw_parts_mut(place.as_ptr(), self.payload) };
        let headers = self.headers()?;
        let header = headers.get(..HEADER).unwrap_or_default();
        let structure = headers.get(HEADER..HEADER + HEADER).unwrap_or_default();
        Ok(Exchange { header, structure, payload, length })
    }

    /// Says that the answer stands in the payload, `length` bytes of it, and has this header. The next turn gives it to the kernel.
    ///
    /// # Errors
    /// `EBUSY` while it is the kernel's turn.
    pub fn commit(&mut self, header: &[u8], length: usize) -> std::result::Result<(), Errno> {
        self.headers()?;
        let length = u32::try_from(length.min(self.payload)).map_err(|_| Errno::INVAL)?;
        let exchange = self.exchange.as_ref().ok_or(Errno::BUSY)?;
        // SAFETY: the memory begins with the headers and is ours now; `self` is borrowed mutably.
        let headers = unsafe { std::slice::from_raw_parts_mut(exchange.start.as_ptr(), HEADERS) };
        headers.get_mut(..header.len()).ok_or(Errno::INVAL)?.copy_from_slice(header);
        let size = headers.get_mut(PAYLOAD_SIZE..PAYLOAD_SIZE + 4).ok_or(Errno::INVAL)?;
        size.copy_from_slice(&length.to_ne_bytes());
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.turn == Turn::Kernels {
            // The end of the ring ends the command, but the kernel says to nobody when: its memory stays. That is a seat of a channel
            // that is stopped while it is mounted, which few are.
            std::mem::forget(self.exchange.take());
        }
    }
}

// SAFETY: the pointers are into memory that the value owns.
unsafe impl Send for Seat {}

/// How many queues the kernel has: one for every possible processor. `None` where it cannot be known, and rings had better not be used.
#[must_use]
pub fn ring_queues() -> Option<u16> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/possible").ok()?;
    count_of(list.trim_end())
}

/// How many numbers a list as `0-3,8` names.
fn count_of(list: &str) -> Option<u16> {
    list.split(',').try_fold(0_u16, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// The error that a completion has.
fn errno(result: i32) -> Errno {
    Errno::from_io_error(&std::io::Error::from_raw_os_error(result.saturating_neg())).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_long_as_the_kernels() {
        assert_eq!((size_of::<Params>(), size_of::<Submission>(), size_of::<Completion>()), (120, 128, 16));
        assert_eq!(std::mem::offset_of!(Submission, request_flags), 48);
    }

    #[test]
    fn processors_are_counted() {
        assert_eq!(["0", "0-1", "0-3,8", "2-4,6-7"].map(count_of), [1, 2, 5, 5].map(Some));
        assert_eq!(["", "a", "3-1", "0-99999"].map(count_of), [None; 4]);
        assert!(ring_queues().is_none_or(|queues| queues > 0));
    }

    #[test]
    fn a_device_that_is_not_mounted_has_no_seat_and_the_memory_is_ours_again() {
        let device = match Device::open() {
            Ok(device) => Arc::new(device),
            Err(error) => return eprintln!("skipped: {error}"),
        };
        let mut seat = match Seat::new(&device, 0, 8192) {
            Ok(seat) => seat,
            Err(error) => return eprintln!("skipped: {error}"),
        };
        assert!(seat.turn().is_err());
        assert_eq!(seat.exchange().map(|exchange| exchange.payload.len()), Ok(8192));
    }
}

//! Requests by the device: one read(2), one writev(2).

use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mica_sys::fuse::{Device, Interruptible};
use mica_sys::{Errno, SysError};

use super::buffer::Buffer;
use super::{ChannelError, Shared, lock};
use crate::fuse::wire::{Dialect, Init, InitOffer, Message, Out, Piped, Reply, Request};

/// What a buffer has beside the longest data: the headers and structures of a request and of its answer, with room to spare. The
/// kernel reads into no buffer that is shorter than 8,192 bytes.
pub(super) const ROOM_BESIDE: usize = 8192;

/// How many requests in a row a thread must have answered that others could have, before it ends.
const CALM: u32 = 256;

/// The kernel's first request.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) offer: InitOffer,
    unique: u64,
    opcode: u32,
}

/// Reads `INIT`.
pub(super) fn hello(device: &Device) -> Result<Hello, ChannelError> {
    let mut buffer = vec![0; 1 << 16];
    let length = loop {
        match device.read(&mut buffer) {
            Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => {}
            read => break read.map_err(|errno| ChannelError::Read(SysError::new("read", "/dev/fuse", errno)))?,
        }
    };
    let message = Message::of_device(buffer.get(..length).unwrap_or_default()).map_err(|_| ChannelError::NotInit)?;
    let Ok(Request::Init(offer)) = message.request(Dialect::default()) else { return Err(ChannelError::NotInit) };
    Ok(Hello { offer, unique: message.unique(), opcode: message.opcode() })
}

/// Answers `INIT`.
pub(super) fn welcome(device: &Device, hello: &Hello, init: &Init) -> Result<(), ChannelError> {
    let mut room = [0; 64];
    let mut out = Out::new(&mut room, hello.opcode);
    let put = out.init(init).map(|()| out.len());
    let reply = Reply::new(hello.unique, put);
    let sent = device.write(&[IoSlice::new(&reply.header()), IoSlice::new(out.body())]);
    sent.map_err(|errno| ChannelError::Write(SysError::new("writev", "/dev/fuse", errno)))
}

/// Starts a thread. One that is not `lasting` ends when there are enough without it.
pub(super) fn spawn(shared: &Arc<Shared>, lasting: bool) -> Result<(), ChannelError> {
    let device = shared.device.another().map_err(ChannelError::Another)?;
    let its = Arc::clone(shared);
    // Counted before it runs: `wait` must not find nobody.
    shared.live.fetch_add(1, Ordering::AcqRel);
    shared.idle.fetch_add(1, Ordering::Relaxed);
    let mut threads = lock(&shared.threads);
    let spawned = std::thread::Builder::new().name(super::DEVICE_THREAD.to_owned()).spawn(move || {
        let _alive = Alive(&its);
        serve(&its, &device, lasting);
    });
    match spawned {
        Ok(thread) => {
            threads.retain(|thread| !thread.is_finished());
            threads.push(thread);
            Ok(())
        }
        Err(error) => {
            shared.idle.fetch_sub(1, Ordering::Relaxed);
            shared.live.fetch_sub(1, Ordering::AcqRel);
            Err(ChannelError::Thread(error))
        }
    }
}

/// Counts a thread until it ends, however it does.
pub(super) struct Alive<'a>(pub(super) &'a Shared);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        if self.0.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Under the lock: who is about to wait has not looked yet, or waits.
            let _threads = lock(&self.0.threads);
            self.0.all_gone.notify_all();
        }
    }
}

/// Reads and answers until the mount is gone. A thread is idle when it comes here, and when it goes it is not.
fn serve(shared: &Arc<Shared>, device: &Device, lasting: bool) {
    // ignored: a thread that cannot be woken ends with the mount.
    let _woken = Interruptible::here().ok();
    let _followed = shared.follow.join();
    let mut buffer = Buffer::new(shared.buffer);
    let mut piped = Piped::default();
    let mut calm: u32 = 0;
    while !shared.stopping.load(Ordering::Acquire) {
        let buffer = buffer.bytes();
        let length = match device.read(buffer) {
            Ok(length) => length,
            // A request that was taken back before it was read, or `stop`.
            Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => continue,
            // ENODEV: unmounted. ECONNABORTED: aborted. Anything else leaves nothing to read either.
            Err(_) => break,
        };
        let Some((bytes, room)) = buffer.split_at_mut_checked(length) else { continue };
        let Ok(message) = Message::of_device(bytes) else { continue };
        let taken = shared.taken.fetch_add(1, Ordering::Relaxed);
        shared.follow.took(taken, message.caller().pid);
        if shared.idle.fetch_sub(1, Ordering::Relaxed) == 1 && message.is_answered() {
            shared.watch.wake();
        }
        respond(shared, device, &message, room, &mut piped);
        let enough = shared.idle.fetch_add(1, Ordering::Relaxed) >= shared.lasting;
        calm = if enough { calm.saturating_add(1) } else { 0 };
        if calm >= CALM && !lasting {
            break;
        }
    }
    shared.idle.fetch_sub(1, Ordering::Relaxed);
}

fn respond(shared: &Shared, device: &Device, message: &Message<'_>, room: &mut [u8], piped: &mut Piped) {
    let mut out = Out::new(room, message.opcode()).with_pipe(piped, message.unique());
    // A build for users aborts where this would catch; in a test build it spares the client from waiting for ever.
    let answered = catch_unwind(AssertUnwindSafe(|| dispatch(shared, message, &mut out)));
    let Some(answer) = answered.unwrap_or(Some(Err(Errno::IO))) else { return };
    let sent = if let (Ok(()), Some(held)) = (answer, out.held()) {
        held.send(device)
    } else {
        let reply = Reply::new(message.unique(), answer.map(|()| out.len()));
        let body = out.body().get(..reply.body_len()).unwrap_or_default();
        device.write(&[IoSlice::new(&reply.header()), IoSlice::new(body)])
    };
    match sent {
        // ENOENT: the connection was aborted meanwhile.
        Ok(()) | Err(Errno::NOENT | Errno::NODEV) => {}
        // The kernel has something against the answer. Where it still waits, it must get another.
        Err(_) => {
            let reply = Reply::new(message.unique(), Err(Errno::IO));
            // ignored: who does not wait needs no answer.
            device.write(&[IoSlice::new(&reply.header())]).ok();
        }
    }
}

/// `None` for what is not answered.
pub(super) fn dispatch(shared: &Shared, message: &Message<'_>, out: &mut Out<'_>) -> Option<Result<(), Errno>> {
    let request = match message.request(shared.dialect) {
        Ok(request) => request,
        Err(malformed) => return message.is_answered().then(|| Err(malformed.errno())),
    };
    match request {
        Request::Forget { node, lookups } => shared.served.forget(node, lookups),
        Request::BatchForget { forgets } => forgets.for_each(|(node, lookups)| shared.served.forget(node, lookups)),
        // Requests are not given up half way. That is said once, and interrupts are not sent any more.
        Request::Interrupt { .. } => return Some(Err(Errno::NOSYS)),
        Request::NotifyReply { .. } => {}
        Request::Destroy => return Some(Ok(())),
        Request::Init(_) => return Some(Err(Errno::IO)),
        request => return Some(shared.served.answer(&message.caller(), request, out)),
    }
    None
}

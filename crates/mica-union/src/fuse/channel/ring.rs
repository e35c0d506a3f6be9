//! Requests by rings: a thread has a seat at the queue of one processor.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};

use mica_sys::Errno;
use mica_sys::fuse::{Exchange, Interruptible, Seat};
use mica_sys::process::Affinity;

use super::device::{self, Alive};
use super::{ChannelError, Shared, lock};
use crate::fuse::wire::{Message, OUT_HEADER, Out, Reply};

/// A request that is not longer is taken out of the way of its answer; the answers to longer ones are not longer than this.
const APART: usize = 8192;

/// Threads that have made their seats and wait for a word. Dropped without it, they end.
pub(super) struct Seats(Vec<Sender<()>>);

impl Seats {
    /// Makes seats at all queues, each with a thread. `None` where one cannot be made: then none are.
    pub(super) fn make(shared: &Arc<Shared>) -> Result<Option<Self>, ChannelError> {
        let Some(queues) = mica_sys::fuse::ring_queues() else { return Ok(None) };
        let (report, reports) = channel();
        let mut begin = Vec::new();
        for queue in 0..queues {
            for _ in 0..at_each(queues) {
                let (word, awaited) = channel();
                begin.push(word);
                spawn(shared, queue, report.clone(), awaited)?;
            }
        }
        drop(report);
        let all_made = reports.iter().all(|made| made);
        Ok(all_made.then_some(Self(begin)))
    }

    /// Lets them take requests. The kernel has heard of rings.
    pub(super) fn begin(self) {
        for word in self.0 {
            // ignored: who does not hear it has ended.
            word.send(()).ok();
        }
    }
}

/// How many threads sit at each of so many queues. A caller who waits for a disk keeps one busy, and those of its processor need others.
const fn at_each(queues: u16) -> usize {
    match queues {
        0..=4 => 4,
        5..=16 => 3,
        _ => 2,
    }
}

fn spawn(shared: &Arc<Shared>, queue: u16, report: Sender<bool>, begin: Receiver<()>) -> Result<(), ChannelError> {
    let its = Arc::clone(shared);
    shared.live.fetch_add(1, Ordering::AcqRel);
    let mut threads = lock(&shared.threads);
    let spawned = std::thread::Builder::new().name(super::RING_THREAD.to_owned()).spawn(move || {
        let _alive = Alive(&its);
        let payload = its.buffer - device::ROOM_BESIDE;
        let seat = Seat::new(&its.device, queue, payload);
        // ignored: who started this thread has given up.
        report.send(seat.is_ok()).ok();
        drop(report);
        if let (Ok(seat), Ok(())) = (seat, begin.recv()) {
            its.seated.fetch_add(1, Ordering::AcqRel);
            serve(&its, seat, queue);
            its.seated.fetch_sub(1, Ordering::AcqRel);
        }
    });
    match spawned {
        Ok(thread) => {
            threads.push(thread);
            Ok(())
        }
        Err(error) => {
            shared.live.fetch_sub(1, Ordering::AcqRel);
            Err(ChannelError::Thread(error))
        }
    }
}

/// Takes requests until the mount is gone, or the kernel refuses the seat: then others have them, or the device.
fn serve(shared: &Shared, mut seat: Seat, queue: u16) {
    // ignored: a thread that cannot be woken ends with the mount.
    let _woken = Interruptible::here().ok();
    // ignored: where it may not, the scheduler has its way.
    Affinity::here().and_then(|here| here.stay_on(queue)).ok();
    let mut apart = vec![0; APART];
    loop {
        match seat.turn() {
            Ok(()) => {}
            Err(Errno::INTR | Errno::AGAIN) if !shared.stopping.load(Ordering::Acquire) => continue,
            Err(_) => break,
        }
        let Ok(exchange) = seat.exchange() else { break };
        let (header, length) = respond(shared, exchange, &mut apart);
        if seat.commit(&header, length).is_err() {
            break;
        }
        // An answer that was made is given first.
        if shared.stopping.load(Ordering::Acquire) {
            break;
        }
    }
}

/// Answers a request where it stands.
fn respond(shared: &Shared, exchange: Exchange<'_>, apart: &mut [u8]) -> ([u8; OUT_HEADER], usize) {
    let Exchange { header, structure, payload, length } = exchange;
    let reply = match apart.get_mut(..length) {
        Some(taken) => {
            taken.copy_from_slice(payload.get(..length).unwrap_or_default());
            answer(shared, Message::of_ring(header, structure, taken), payload)
        }
        None => {
            let given = payload.get(..length).unwrap_or_default();
            let reply = answer(shared, Message::of_ring(header, structure, given), apart);
            if let (Some(to), Some(from)) = (payload.get_mut(..reply.body_len()), apart.get(..reply.body_len())) {
                to.copy_from_slice(from);
            }
            reply
        }
    };
    (reply.header(), reply.body_len())
}

fn answer(shared: &Shared, message: Result<Message<'_>, crate::fuse::wire::Malformed>, room: &mut [u8]) -> Reply {
    let message = match message {
        Ok(message) => message,
        Err(malformed) => return Reply::new(0, Err(malformed.errno())),
    };
    let mut out = Out::new(room, message.opcode());
    // As by the device: only a build for tests comes back from a panic.
    let answered = catch_unwind(AssertUnwindSafe(|| device::dispatch(shared, &message, &mut out)));
    // Nothing comes here that is not answered; a seat that said nothing would never get another request.
    let answer = answered.unwrap_or(Some(Err(Errno::IO))).unwrap_or(Err(Errno::NOSYS));
    Reply::new(message.unique(), answer.map(|()| out.len()))
}

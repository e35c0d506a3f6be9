//! Threads of the device that run where their client runs.
//!
//! The kernel wakes the thread that has waited longest, wherever that is, and the scheduler leaves it there: a client on one processor and
//! a thread on another that is idle otherwise wake each other from sleep twice in each request, which takes ten times as long as a switch from one to the other.
//! Rings have threads at each processor for that. By the device nobody can say which thread shall be woken, so all of them go together.
//!
//! Now and then it is looked where the thread that sent a request runs. Two looks that agree, and everybody [stays](Affinity::stay_on) there;
//! one that does not, and everybody roams. Clients on several processors never agree for long. A scheduler that moves the client away from where it
//! is joined, as one may that sees an idle processor beside, makes looks disagree again: then it is tried ever more seldom.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mica_sys::process::{Affinity, proc_is_ours, processor_of};

/// Requests between two looks: at first, and while the client stays.
const SOON: u64 = 16;
const SELDOM: u64 = 256;

/// How often in a row a home that was wrong makes the pause longer: to 16,384 requests.
const MOST_WRONG: u32 = 10;

/// So many looks in a row must have found the client at home before the homes that were wrong are forgotten.
const SETTLED: u32 = 4;

/// Who follows.
#[derive(Debug)]
pub(super) struct Follow {
    /// At which request it is looked next.
    due: AtomicU64,
    together: Mutex<Together>,
}

#[derive(Debug, Default)]
struct Together {
    /// Those that run. Who has ended is not in it: its number may be another's.
    threads: Vec<Arc<Affinity>>,
    home: Home,
}

impl Follow {
    /// Nobody follows where there is one processor, or where it cannot be known who asks.
    pub(super) fn new() -> Self {
        let can = Affinity::here().is_ok_and(|here| here.count() > 1) && proc_is_ours();
        Self { due: AtomicU64::new(if can { SOON } else { u64::MAX }), together: Mutex::default() }
    }

    /// The calling thread goes with the others from here on.
    pub(super) fn join(&self) -> Option<Joined<'_>> {
        let own = Arc::new(Affinity::here().ok()?);
        let mut together = self.together();
        if let Some(home) = together.home.at {
            // ignored: where it may not, the scheduler has its way.
            own.stay_on(home).ok();
        }
        together.threads.push(Arc::clone(&own));
        drop(together);
        Some(Joined { follow: self, own })
    }

    /// A thread has taken a request, after so many others, and has not answered it: who has sent it sleeps where it has sent it.
    pub(super) fn took(&self, before: u64, pid: u32) {
        if before < self.due.load(Ordering::Relaxed) || pid == 0 {
            return;
        }
        let Ok(mut together) = self.together.try_lock() else { return };
        let moves = together.home.look(processor_of(pid).ok());
        self.due.store(before.saturating_add(together.home.pause), Ordering::Relaxed);
        for thread in &together.threads {
            // ignored: as above.
            match moves {
                Moves::None => {}
                Moves::To(home) => drop(thread.stay_on(home)),
                Moves::Anywhere => drop(thread.roam()),
            }
        }
    }

    /// The processor where the threads stay; `None` where they roam.
    pub(super) fn home(&self) -> Option<u16> {
        self.together().home.at
    }

    fn together(&self) -> MutexGuard<'_, Together> {
        self.together.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that goes with the others, until this is dropped.
#[derive(Debug)]
pub(super) struct Joined<'a> {
    follow: &'a Follow,
    own: Arc<Affinity>,
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        self.follow.together().threads.retain(|thread| !Arc::ptr_eq(thread, &self.own));
    }
}

/// Where the threads are.
#[derive(Debug, Default)]
struct Home {
    /// Where they stay.
    at: Option<u16>,
    /// Where the client was when it was looked last.
    seen: Option<u16>,
    /// Requests until it is looked again.
    pause: u64,
    /// How often in a row the home was right.
    right: u32,
    /// How often it was wrong since it was right for long.
    wrong: u32,
}

/// What a look leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moves {
    None,
    To(u16),
    Anywhere,
}

impl Home {
    /// The client is there, or nobody knows where.
    fn look(&mut self, client: Option<u16>) -> Moves {
        let before = std::mem::replace(&mut self.seen, client);
        if self.at.is_some() && self.at == client {
            self.right = self.right.saturating_add(1);
            if self.right >= SETTLED {
                self.wrong = 0;
            }
            self.pause = (self.pause * 2).min(SELDOM);
            return Moves::None;
        }
        if self.at.take().is_some() {
            self.right = 0;
            self.wrong = self.wrong.saturating_add(1);
            self.pause = SOON;
            return Moves::Anywhere;
        }
        match client.filter(|_| before == client) {
            Some(home) => {
                self.at = Some(home);
                self.pause = SOON;
                Moves::To(home)
            }
            None => {
                self.pause = SOON << self.wrong.min(MOST_WRONG);
                Moves::None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_looks_that_agree_make_a_home_and_one_that_does_not_ends_it() {
        let mut home = Home::default();
        let looks = [Some(1), Some(1), Some(1), Some(0), Some(0), None, None, None];
        let moves = looks.map(|client| home.look(client));
        let expected = [
            Moves::None,
            Moves::To(1),
            Moves::None,
            Moves::Anywhere,
            Moves::To(0),
            Moves::Anywhere,
            Moves::None,
            Moves::None,
        ];
        assert_eq!(moves, expected);
        assert_eq!(home.at, None, "nobody knows where the client is");
    }

    #[test]
    fn all_threads_that_run_go_where_the_client_is() {
        let follow = Follow::new();
        let client = Affinity::here().unwrap();
        if client.count() < 2 {
            return;
        }
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let (here, all_here) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let follow = &follow;
            let thread = scope.spawn(move || {
                let _joined = follow.join().unwrap();
                here.send(()).unwrap();
                gone.recv().unwrap();
                Affinity::here().unwrap().count()
            });
            all_here.recv().unwrap();
            let processor = processor_of(own_number()).unwrap();
            client.stay_on(processor).unwrap();
            follow.took(0, own_number());
            assert_eq!(follow.home(), None, "too soon");
            follow.took(SOON, 0);
            follow.took(SOON, own_number());
            follow.took(2 * SOON - 1, own_number());
            assert_eq!(follow.home(), None, "one look");
            follow.took(2 * SOON, own_number());
            assert_eq!((follow.home(), follow.together().threads.len()), (Some(processor), 1));
            go.send(()).unwrap();
            assert_eq!(thread.join().unwrap(), 1);
        });
        assert!(follow.together().threads.is_empty());
    }

    fn own_number() -> u32 {
        rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
    }

    #[test]
    fn clients_on_several_processors_are_not_followed() {
        let mut home = Home::default();
        assert!((0..1000).all(|turn| home.look(Some(turn % 2)) == Moves::None));
    }

    #[test]
    fn a_client_that_is_driven_away_is_tried_ever_more_seldom() {
        let mut home = Home::default();
        let (mut asked, mut moved) = (0, 0);
        // Where the threads are, there the client is not.
        while asked < 1 << 20 {
            let client = if home.at == Some(0) { 1 } else { 0 };
            moved += u32::from(home.look(Some(client)) != Moves::None);
            asked += home.pause;
        }
        assert!((10..200).contains(&moved), "{moved}");
    }

    #[test]
    fn a_client_that_stays_is_looked_at_seldom_and_what_went_wrong_is_forgotten() {
        let mut home = Home::default();
        for turn in 0..20 {
            home.look(Some(turn % 2));
            home.look(Some(turn % 2));
        }
        assert!(home.wrong > 0);
        let asked: u64 = (0..20)
            .map(|_| {
                home.look(Some(7));
                home.pause
            })
            .sum();
        assert_eq!((home.wrong, home.pause), (0, SELDOM));
        assert!(asked > 2000, "{asked}");
    }
}

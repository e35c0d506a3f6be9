//! Random operations, one after the other and by many threads at once.

use mica_core::plan::{Features, How};
use mica_sys::Errno;
use mica_testkit::{Tree as Literal, needs};

use super::both::{Act, Both, Sort};
use super::lowers;
use crate::fuse::tree::tests::read;

/// xorshift: the same each time.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    fn path(&mut self) -> String {
        let names: Vec<&str> = (0..=self.below(3)).map(|_| ["a", "b", "c", "d"][self.below(4)]).collect();
        names.join("/")
    }

    /// Mostly a path that is there.
    fn there(&mut self, paths: &[String]) -> String {
        if paths.is_empty() || self.below(8) == 0 { self.path() } else { paths[self.below(paths.len())].clone() }
    }

    fn act(&mut self, paths: &[String]) -> Act {
        match self.below(20) {
            0 | 1 => Act::Make(self.path(), Sort::File),
            2 | 3 => Act::Make(self.path(), Sort::Directory),
            4 => Act::Make(self.path(), [Sort::Symlink, Sort::Fifo, Sort::Zero][self.below(3)]),
            5 | 6 => Act::Unlink(self.there(paths)),
            7 => Act::Rmdir(self.there(paths)),
            8 | 9 => Act::Link(self.there(paths), self.path()),
            10..=12 => Act::Rename(self.there(paths), self.path(), How::Replace),
            13 => Act::Rename(self.there(paths), self.there(paths), How::Replace),
            14 => Act::Rename(self.there(paths), self.path(), How::NoReplace),
            15 => Act::Rename(self.there(paths), self.there(paths), How::Exchange),
            16 => Act::Rename(self.there(paths), self.path(), How::Whiteout),
            17 => Act::Chmod(self.there(paths), [0o600, 0o755, 0o711][self.below(3)]),
            18 => Act::Append(self.there(paths), "more"),
            _ => Act::Truncate(self.there(paths), [0, 2, 70_000][self.below(3)]),
        }
    }
}

fn go(seed: u64, features: Features, indexed: bool, rounds: usize) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut both = Both::new(&lowers(), features, indexed);
    both.assert_same("the beginning");
    let mut history: Vec<Act> = Vec::new();
    for round in 0..rounds {
        let paths: Vec<String> = Literal::read(&both.plain)
            .iter()
            .filter(|(path, _)| !path.is_root())
            .map(|(path, _)| String::from_utf8_lossy(path.as_bytes()).into_owned())
            .collect();
        let act = random.act(&paths);
        history.push(act.clone());
        let told = || format!("seed {seed}: {:?}", history.iter().rev().take(12).rev().collect::<Vec<_>>());
        let done = both.act(&act);
        if done == Err(Errno::XDEV) && features == Features::Basic {
            continue;
        }
        // Without a mount nobody follows symlinks.
        let wanted = both.act_plainly(&act).map_err(|error| if error == Errno::LOOP { Errno::NOTDIR } else { error });
        assert_eq!(done, wanted, "{}", told());
        both.assert_same(&told());
        if round % 5 == 4 {
            both.reopen();
            both.assert_same(&format!("reopened, {}", told()));
        }
    }
    both.assert_lowers_unchanged();
    assert!(both.scratch.path().exists());
}

#[test]
fn random_operations_show_what_a_plain_directory_shows() {
    needs!(root);
    mica_testkit::in_mount_namespace(|| {
        for seed in 1..60 {
            go(seed, if seed % 4 == 0 { Features::Basic } else { Features::Full }, seed % 3 == 0, 40);
        }
    });
}

/// Threads do what they like to one small tree; nobody waits for ever, and what is in memory in the end is what is on disk.
#[test]
fn many_threads_at_once_leave_what_the_disk_says() {
    needs!(root);
    mica_testkit::in_mount_namespace(|| {
        for seed in 1..6u64 {
            let mut both = Both::new(&lowers(), Features::Full, seed % 2 == 0);
            std::thread::scope(|scope| {
                for thread in 0..8u64 {
                    let both = &both;
                    scope.spawn(move || {
                        let mut random = Random((seed * 8 + thread).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
                        for _ in 0..400 {
                            let act = random.act(&[]);
                            // Never the errors of a server that has lost its way.
                            if let Err(error @ (Errno::IO | Errno::AGAIN)) = both.act(&act) {
                                panic!("{act:?}: {error}");
                            }
                        }
                    });
                }
            });
            let shown = read(&both.union().tree);
            both.reopen();
            read(&both.union().tree).assert_is(&shown, "a new mount");
            both.assert_lowers_unchanged();
        }
    });
}

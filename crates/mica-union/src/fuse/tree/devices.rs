//! Devices inside of a lower: what is mounted in a live directory counts its files by itself.

use std::sync::{PoisonError, RwLock};

/// The devices that were met inside of lowers, beside those of the lowers themselves. Each is known by its place here.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    others: RwLock<Vec<u64>>,
}

/// Bits of a number that are the file's own; above them is its device. Together they are no more than numbers of a layer may have.
const OWN: u32 = 42;

impl Devices {
    /// The number of a file on the device `dev`, in a layer on the device `own`: no two files of the layer have the same, and two names of one file do.
    pub(crate) fn number(&self, own: u64, dev: u64, ino: u64) -> u64 {
        if dev == own {
            return ino;
        }
        let known = |others: &[u64]| others.iter().position(|other| *other == dev);
        let met = known(&self.others.read().unwrap_or_else(PoisonError::into_inner));
        let place = match met {
            Some(place) => place,
            None => {
                let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
                known(&others).unwrap_or_else(|| {
                    others.push(dev);
                    others.len() - 1
                })
            }
        };
        let device = u64::try_from(place).unwrap_or(u64::MAX).wrapping_add(1);
        device << OWN ^ (ino ^ ino >> OWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_two_devices_have_other_numbers_and_names_of_one_file_the_same() {
        let devices = Devices::default();
        let number = |dev, ino| devices.number(1, dev, ino);
        assert_eq!(number(1, 2), 2);
        assert_eq!(number(1, u64::MAX), u64::MAX);
        let roots = [number(1, 2), number(5, 2), number(6, 2), number(5, 3)];
        assert_eq!(roots.iter().collect::<std::collections::HashSet<_>>().len(), roots.len());
        assert_eq!(number(6, 2), roots[2]);
    }
}

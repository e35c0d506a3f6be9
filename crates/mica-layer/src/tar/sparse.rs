//! Sparse maps: where the bytes of a body belong in a file with holes.

use super::BLOCK;
use super::header::number;
use super::pax::decimal;

/// A run of bytes of a file; what lies between runs is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where in the file.
    pub offset: u64,
    /// How many bytes; never 0.
    pub length: u64,
}

/// Makes a map of offsets and lengths as they stand in turn. `None` unless they ascend without overlap, end within
/// `size`, and add up to the `stored` bytes of the body. Empty runs, which writers use to mark the end, are dropped.
#[must_use]
pub fn map(values: &[u64], size: u64, stored: u64) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    let (mut end, mut sum) = (0u64, 0u64);
    let (pairs, []) = values.as_chunks::<2>() else { return None };
    for [offset, length] in pairs {
        if *offset < end {
            return None;
        }
        end = offset.checked_add(*length)?;
        sum = sum.checked_add(*length)?;
        if *length > 0 {
            segments.push(Segment { offset: *offset, length: *length });
        }
    }
    (end <= size && sum == stored).then_some(segments)
}

/// Adds the entries of GNU's old map in `bytes` (24 bytes each: two number fields of 12) to `values`. The first empty
/// entry ends them. `None` for a field that is no number.
#[must_use]
pub fn add_old_entries(bytes: &[u8], values: &mut Vec<u64>) -> Option<()> {
    let (entries, _) = bytes.as_chunks::<24>();
    for entry in entries {
        let (offset, length) = entry.split_at(12);
        if offset.first() == Some(&0) {
            break;
        }
        for field in [offset, length] {
            values.push(u64::try_from(number(field)?).ok()?);
        }
    }
    Some(())
}

/// An extension block of GNU's old map: 21 entries, then whether another block follows.
#[must_use]
pub fn extension(block: &[u8; BLOCK]) -> (&[u8], bool) {
    (block.get(..21 * 24).unwrap_or_default(), block.get(504).is_some_and(|flag| *flag != 0))
}

/// The map at the start of a body (PAX form 1.0): a count of runs, then an offset and a length for each; decimal
/// numbers, each on a line; padded to a block.
#[derive(Debug, Default)]
pub struct BodyMap {
    line: Vec<u8>,
    count: Option<u64>,
    values: Vec<u64>,
}

impl BodyMap {
    /// Takes the next block; whether it was the last one. `None` when it is no such map.
    #[must_use]
    pub fn add(&mut self, block: &[u8; BLOCK]) -> Option<bool> {
        for byte in block {
            if self.is_whole() {
                return Some(true);
            }
            if *byte != b'\n' {
                self.line.push(*byte);
                // No u64 has more than 20 digits.
                if self.line.len() > 20 {
                    return None;
                }
                continue;
            }
            let value = decimal(&self.line)?;
            self.line.clear();
            match self.count {
                None => self.count = Some(value.checked_mul(2)?),
                Some(_) => self.values.push(value),
            }
        }
        Some(self.is_whole())
    }

    fn is_whole(&self) -> bool {
        self.count.is_some_and(|count| u64::try_from(self.values.len()).is_ok_and(|have| have >= count))
    }

    /// Offsets and lengths in turn.
    #[must_use]
    pub fn into_values(self) -> Vec<u64> {
        self.values
    }
}

/// The map that [`BodyMap`] reads, of runs in a file of `size` bytes.
#[must_use]
pub fn encode(size: u64, runs: &[Segment]) -> Vec<u8> {
    // An empty run marks the end of a file that ends in a hole: some readers go by the last run.
    let end = runs.last().map_or(0, |run| run.offset.saturating_add(run.length));
    let last = (end < size).then_some(Segment { offset: size, length: 0 });
    let runs = runs.iter().copied().chain(last);
    let mut map = format!("{}\n", runs.clone().count()).into_bytes();
    for run in runs {
        map.extend_from_slice(format!("{}\n{}\n", run.offset, run.length).as_bytes());
    }
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &[u8]) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..text.len()].copy_from_slice(text);
        block
    }

    #[test]
    fn a_map_ascends_and_fits() {
        let segment = |offset, length| Segment { offset, length };
        for (values, size, stored, segments) in [
            (&[][..], 10, 0, Some(vec![])),
            (&[0, 4, 8, 2, 10, 0], 10, 6, Some(vec![segment(0, 4), segment(8, 2)])),
            (&[0, 4, 3, 2], 10, 6, None),
            (&[8, 2, 0, 4], 10, 6, None),
            (&[0, 4, 8, 3], 10, 7, None),
            (&[0, 4], 10, 5, None),
            (&[0, 4, 8], 10, 4, None),
            (&[u64::MAX, 2], u64::MAX, 2, None),
        ] {
            assert_eq!(map(values, size, stored), segments, "{values:?}");
        }
    }

    #[test]
    fn a_body_map_may_run_over_blocks() {
        let mut text = b"60\n".to_vec();
        for number in 0..120u32 {
            text.extend_from_slice(format!("{}\n", 100_000 + number).as_bytes());
        }
        let mut map = BodyMap::default();
        assert_eq!(map.add(&block(&text[..512])), Some(false));
        assert_eq!(map.add(&block(&text[512..])), Some(true));
        assert_eq!(map.into_values(), (100_000..100_120).collect::<Vec<_>>());
    }

    #[test]
    fn a_body_map_of_other_text_is_refused() {
        for text in [&b"x\n"[..], b"\n", b"1\n0\n\0", b"111111111111111111111\n", b"-1\n", b"99999999999999999999\n"] {
            assert_eq!(BodyMap::default().add(&block(text)), None, "{:?}", String::from_utf8_lossy(text));
        }
        assert_eq!(BodyMap::default().add(&block(b"0\n")), Some(true));
    }
}

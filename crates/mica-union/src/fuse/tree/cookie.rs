//! A cookie: the number of a name in its directory, never given to another name there.

/// No cookie is as large: at 20,000 new names a second in one directory they are used up in 400 years.
pub(super) const MOST: u64 = 1 << 48;

/// A cookie in the 48 bits that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cookie([u16; 3]);

impl Cookie {
    /// Of a larger number the rest is lost.
    pub(super) const fn new(cookie: u64) -> Self {
        let [a, b, c, d, e, f, ..] = cookie.to_le_bytes();
        Self([u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]), u16::from_le_bytes([e, f])])
    }

    pub(super) const fn get(self) -> u64 {
        let Self([low, middle, high]) = self;
        (high as u64) << 32 | (middle as u64) << 16 | low as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_what_it_was() {
        for cookie in [0, 3, 0xffff, 0x1_0000, 0x1234_5678_9abc, MOST - 1] {
            assert_eq!(Cookie::new(cookie).get(), cookie);
        }
    }
}

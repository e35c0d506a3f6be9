//! The arguments of a request: one structure of the operation, then names and bytes, taken from the front.

use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::NAME_MAX;

/// The operation's structure and what follows it. By a ring the structure stands apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Args<'a> {
    pub(super) apart: Option<&'a [u8]>,
    pub(super) rest: &'a [u8],
}

/// What is wrong with the arguments.
pub(super) enum Wrong {
    /// Something is cut short or is not what it must be.
    Body,
    /// A name is too long.
    Name,
}

impl<'a> Args<'a> {
    /// The operation's structure. It stands before everything else and is taken once.
    pub(super) fn structure<T: FromBytes + Immutable + KnownLayout>(&mut self) -> Result<T, Wrong> {
        if let Some(apart) = self.apart.take() {
            return T::read_from_prefix(apart).map(|(value, _)| value).map_err(|_| Wrong::Body);
        }
        let (value, rest) = T::read_from_prefix(self.rest).map_err(|_| Wrong::Body)?;
        self.rest = rest;
        Ok(value)
    }

    /// Bytes up to a NUL, which is dropped.
    pub(super) fn text(&mut self) -> Result<&'a [u8], Wrong> {
        let end = self.rest.iter().position(|byte| *byte == 0).ok_or(Wrong::Body)?;
        let (text, rest) = self.rest.split_at_checked(end).ok_or(Wrong::Body)?;
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(text)
    }

    /// A name in a directory.
    pub(super) fn name(&mut self) -> Result<&'a [u8], Wrong> {
        match self.text()? {
            name if name.is_empty() || name.contains(&b'/') => Err(Wrong::Body),
            name if name.len() > NAME_MAX => Err(Wrong::Name),
            name => Ok(name),
        }
    }

    /// That many bytes.
    pub(super) fn bytes(&mut self, length: u32) -> Result<&'a [u8], Wrong> {
        let length = usize::try_from(length).map_err(|_| Wrong::Body)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Wrong::Body)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// That many structures of `size` bytes.
    pub(super) fn many(&mut self, count: u32, size: usize) -> Result<&'a [u8], Wrong> {
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(size)).ok_or(Wrong::Body)?;
        self.bytes(u32::try_from(length).map_err(|_| Wrong::Body)?)
    }
}

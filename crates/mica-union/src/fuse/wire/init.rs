//! What a kernel and this server agree on before the first request.

use super::abi::{InitIn, InitMoreIn, InitOut};
use super::flags::InitFlags;
use super::{Dialect, MAJOR, MINOR, OLDEST_MINOR};

/// What the kernel says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitOffer {
    /// Major version.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
    /// The most bytes that it reads ahead.
    pub max_readahead: u32,
    /// What it can do.
    pub flags: InitFlags,
}

impl InitOffer {
    pub(super) fn of(raw: &InitIn, more: &InitMoreIn) -> Self {
        let low = InitFlags::from_bits_retain(u64::from(raw.flags));
        let high = if low.contains(InitFlags::INIT_EXT) { u64::from(more.flags2) << 32 } else { 0 };
        let flags = low.union(InitFlags::from_bits_retain(high));
        Self { major: raw.major, minor: raw.minor, max_readahead: raw.max_readahead, flags }
    }
}

/// What a file system wants of the kernel, beyond what every one of ours wants; each is had only where it is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// POSIX ACLs. With them the kernel checks permissions whether the mount asks for it or not.
    pub posix_acl: bool,
    /// Writes are kept by the kernel and sent later. Then there is no passthrough.
    pub writeback: bool,
    /// Passthrough, with backing files that stand on up to this many stacked file systems (1: on none; 2: on an overlay too).
    /// Needs `CAP_SYS_ADMIN`.
    pub passthrough: Option<u32>,
    /// Mounts with mapped IDs. Only of mounts with `default_permissions`, or with ACLs.
    pub idmap: bool,
    /// Setuid and setgid bits and capabilities are cleared by the server, when a request says so.
    pub killpriv: bool,
    /// `O_TRUNC` comes with `OPEN`. Without it a `SETATTR` follows, which comes also where nothing is asked at an open.
    pub atomic_truncate: bool,
    /// The most bytes of one read or write; a multiple of the page size.
    pub max_write: u32,
    /// How many requests nobody waits for (reading ahead, writing back) may be under way.
    pub max_background: u16,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            posix_acl: true,
            writeback: false,
            passthrough: None,
            idmap: true,
            killpriv: true,
            atomic_truncate: true,
            max_write: 1 << 20,
            max_background: 64,
        }
    }
}

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init {
    /// The minor version that is spoken.
    pub minor: u32,
    /// What is on.
    pub flags: InitFlags,
    /// The most bytes of one write.
    pub max_write: u32,
    /// The most pages of one request.
    pub max_pages: u16,
    /// The most bytes that are read ahead.
    pub max_readahead: u32,
    max_background: u16,
    max_stack_depth: u32,
}

/// What every file system of ours takes where it is offered.
const ALWAYS: InitFlags = InitFlags::ASYNC_READ
    .union(InitFlags::EXPORT_SUPPORT)
    .union(InitFlags::BIG_WRITES)
    .union(InitFlags::DONT_MASK)
    .union(InitFlags::SPLICE_WRITE)
    .union(InitFlags::SPLICE_MOVE)
    .union(InitFlags::SPLICE_READ)
    .union(InitFlags::HAS_IOCTL_DIR)
    .union(InitFlags::DO_READDIRPLUS)
    .union(InitFlags::READDIRPLUS_AUTO)
    .union(InitFlags::ASYNC_DIO)
    .union(InitFlags::PARALLEL_DIROPS)
    .union(InitFlags::ABORT_ERROR)
    .union(InitFlags::MAX_PAGES)
    .union(InitFlags::CACHE_SYMLINKS)
    .union(InitFlags::NO_OPENDIR_SUPPORT)
    .union(InitFlags::SETXATTR_EXT)
    .union(InitFlags::INIT_EXT)
    .union(InitFlags::CREATE_SUPP_GROUP)
    .union(InitFlags::HAS_EXPIRE_ONLY)
    .union(InitFlags::DIRECT_IO_ALLOW_MMAP)
    .union(InitFlags::HAS_RESEND);

/// Pages of a request where the kernel has no say in it (before 7.28 always).
const PAGES_WITHOUT_A_SAY: u16 = 32;

impl Init {
    /// What is agreed on with a kernel that offers `offer`; `page` is the bytes of a page there; `ring`: requests are
    /// also taken by rings. `None` where it is older than
    /// 7.31, which is spoken by nobody who can mount a union of ours.
    #[must_use]
    pub fn agree(offer: &InitOffer, wanted: &Wanted, page: u32, ring: bool) -> Option<Self> {
        if offer.major != MAJOR || offer.minor < OLDEST_MINOR {
            return None;
        }
        let when = |on: bool, flag: InitFlags| if on { flag } else { InitFlags::empty() };
        let passthrough = wanted.passthrough.filter(|_| !wanted.writeback);
        let asked = ALWAYS
            | when(wanted.posix_acl, InitFlags::POSIX_ACL)
            | when(wanted.writeback, InitFlags::WRITEBACK_CACHE)
            | when(passthrough.is_some(), InitFlags::PASSTHROUGH)
            | when(wanted.idmap, InitFlags::ALLOW_IDMAP)
            | when(wanted.killpriv, InitFlags::HANDLE_KILLPRIV_V2)
            | when(wanted.atomic_truncate, InitFlags::ATOMIC_O_TRUNC)
            | when(ring, InitFlags::OVER_IO_URING);
        let flags = asked & offer.flags;
        let max_pages = u16::try_from(wanted.max_write.div_ceil(page.max(1))).unwrap_or(u16::MAX).max(1);
        let max_pages = if flags.contains(InitFlags::MAX_PAGES) { max_pages } else { PAGES_WITHOUT_A_SAY };
        Some(Self {
            minor: offer.minor.min(MINOR),
            flags,
            max_write: wanted.max_write.min(u32::from(max_pages).saturating_mul(page.max(1))),
            max_pages,
            max_readahead: offer.max_readahead,
            max_background: wanted.max_background,
            max_stack_depth: passthrough.filter(|_| flags.contains(InitFlags::PASSTHROUGH)).unwrap_or(0),
        })
    }

    /// How requests look.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        Dialect { setxattr_ext: self.flags.contains(InitFlags::SETXATTR_EXT) }
    }

    /// Whether files can be handed to the kernel.
    #[must_use]
    pub const fn has_passthrough(&self) -> bool {
        self.flags.contains(InitFlags::PASSTHROUGH)
    }

    #[allow(clippy::cast_possible_truncation, reason = "the two halves of 64 bits")]
    pub(super) const fn out(&self) -> InitOut {
        let bits = self.flags.bits();
        InitOut {
            major: MAJOR,
            minor: MINOR,
            max_readahead: self.max_readahead,
            flags: bits as u32,
            max_background: self.max_background,
            congestion_threshold: self.max_background / 4 * 3,
            max_write: self.max_write,
            time_gran: 1,
            max_pages: self.max_pages,
            map_alignment: 0,
            flags2: (bits >> 32) as u32,
            max_stack_depth: self.max_stack_depth,
            request_timeout: 0,
            unused: [0; 11],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWEST: InitOffer = InitOffer { major: 7, minor: 45, max_readahead: 131_072, flags: InitFlags::all() };

    #[test]
    fn only_what_is_offered_is_taken() {
        let flags = InitFlags::BIG_WRITES | InitFlags::MAX_PAGES | InitFlags::PASSTHROUGH;
        let init = Init::agree(&InitOffer { minor: 40, flags, ..NEWEST }, &Wanted::default(), 4096, true).unwrap();
        assert_eq!((init.minor, init.flags), (40, InitFlags::BIG_WRITES | InitFlags::MAX_PAGES));
        assert_eq!((init.max_write, init.max_pages), (1 << 20, 256));
    }

    #[test]
    fn passthrough_and_writeback_exclude_each_other() {
        let wanted = Wanted { passthrough: Some(2), ..Wanted::default() };
        let init = Init::agree(&NEWEST, &wanted, 4096, false).unwrap();
        assert!(init.has_passthrough() && init.out().max_stack_depth == 2);
        let init = Init::agree(&NEWEST, &Wanted { writeback: true, ..wanted }, 4096, false).unwrap();
        assert!(!init.has_passthrough() && init.out().max_stack_depth == 0);
        assert!(init.flags.contains(InitFlags::WRITEBACK_CACHE));
    }

    #[test]
    fn the_high_half_of_the_flags_stands_apart() {
        let init = Init::agree(&NEWEST, &Wanted::default(), 4096, true).unwrap();
        assert_eq!(init.out().flags2, ((1_u64 << 34 | 1 << 35 | 1 << 36 | 1 << 39 | 1 << 40 | 1 << 41) >> 32) as u32);
        assert_eq!(init.out().flags & (1 << 30), 1 << 30);
    }

    #[test]
    fn an_old_or_strange_kernel_is_refused_and_a_newer_one_speaks_ours() {
        assert_eq!(Init::agree(&InitOffer { minor: 30, ..NEWEST }, &Wanted::default(), 4096, false), None);
        assert_eq!(Init::agree(&InitOffer { major: 8, ..NEWEST }, &Wanted::default(), 4096, false), None);
        let newer = Init::agree(&InitOffer { minor: 99, ..NEWEST }, &Wanted::default(), 4096, false).unwrap();
        assert_eq!(newer.minor, MINOR);
    }

    #[test]
    fn without_a_say_in_pages_writes_are_small() {
        let flags = InitFlags::all() - InitFlags::MAX_PAGES;
        let init = Init::agree(&InitOffer { flags, ..NEWEST }, &Wanted::default(), 4096, false).unwrap();
        assert_eq!((init.max_pages, init.max_write), (32, 131_072));
    }
}

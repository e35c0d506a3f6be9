//! The heap of the process: how much of it is used, and giving back what is not.
//!
//! Both are the C library's own business, so where that is not glibc nothing is known and nothing is done.
#![allow(unsafe_code, reason = "mallinfo(3), malloc_trim(3)")]

/// Gives memory that nobody uses back to the system, also from between what is used. It looks at all that is free: to be asked for seldom.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, and may be called by any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The bytes in use, with what the allocator itself has for each piece; right below 2 GiB. `None` where the C library does not say.
#[must_use]
pub fn in_use() -> Option<usize> {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it takes nothing, and gives numbers.
        let found = unsafe { libc::mallinfo() };
        Some(usize::try_from(found.uordblks).ok()?.saturating_add(usize::try_from(found.hblkhd).ok()?))
    }
    #[cfg(not(target_env = "gnu"))]
    None
}

#[cfg(test)]
mod tests {
    #[cfg(target_env = "gnu")]
    #[test]
    fn what_is_allocated_is_in_use() {
        let before = super::in_use().unwrap();
        let held = vec![1_u8; 64 << 20];
        let during = super::in_use().unwrap();
        assert!(during >= before / 2 + (32 << 20), "{before} and {during}");
        drop(held);
        super::give_back();
        assert!(super::in_use().unwrap() < during);
    }
}

//! Where a thread reads a request and makes its answer.

/// What comes before the content in a `WRITE`, and how long a `READ` is: a header and one structure, of 40 bytes each.
const BEFORE_CONTENT: usize = 80;

/// Memory in which the content of files begins at a page: what `WRITE` brings and what `READ` is answered by stand behind the same number of bytes.
///
/// From and to any other place the kernel copies each page in two parts: reading and writing much cost 7 % more of the server's time so.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Room for so many bytes at least.
    pub(super) fn new(length: usize) -> Self {
        let page = usize::try_from(mica_sys::fuse::page_size()).unwrap_or(1);
        let memory = vec![0; length.saturating_add(page)];
        // Where no such place is found, content begins anywhere.
        let start = memory.get(BEFORE_CONTENT..).map_or(0, |from| from.as_ptr().align_offset(page)).min(page);
        Self { memory, start }
    }

    /// Where a request is read to, and behind it the room of its answer.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuse::wire::IN_HEADER;

    #[test]
    fn content_begins_at_a_page() {
        let page = usize::try_from(mica_sys::fuse::page_size()).unwrap();
        for length in [8192, 1 << 20, (1 << 20) + 8192] {
            let mut buffer = Buffer::new(length);
            let bytes = buffer.bytes();
            assert!(bytes.len() >= length);
            assert_eq!(bytes[BEFORE_CONTENT..].as_ptr().align_offset(page), 0);
        }
        assert_eq!(BEFORE_CONTENT, IN_HEADER + 40);
    }
}

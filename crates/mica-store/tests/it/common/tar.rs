//! Tars written by hand, so that a test does not trust what it tests.

/// A tar in the making (POSIX.1-1988 ustar, with PAX records where asked for).
#[derive(Default)]
pub struct Builder {
    bytes: Vec<u8>,
    pax: Vec<u8>,
    owner: (u32, u32),
}

impl Builder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn file(self, name: &str, content: &str) -> Self {
        self.entry(name, b'0', 0o644, "", content.as_bytes())
    }

    pub fn dir(self, name: &str, mode: u32) -> Self {
        self.entry(name, b'5', mode, "", b"")
    }

    pub fn link(self, name: &str, target: &str) -> Self {
        self.entry(name, b'1', 0o644, target, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name, b'2', 0o777, target, b"")
    }

    /// The owner of everything that follows.
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.owner = (uid, gid);
        self
    }

    /// An extended attribute of the next entry.
    pub fn xattr(mut self, name: &str, value: &str) -> Self {
        let body = format!(" SCHILY.xattr.{name}={value}\n");
        // The length counts its own digits.
        let length =
            (1..5).map(|digits| digits + body.len()).find(|length| length.to_string().len() + body.len() == *length);
        self.pax.extend(format!("{}{body}", length.unwrap()).bytes());
        self
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }

    /// Any entry; a device is 1:3.
    pub fn entry(mut self, name: &str, kind: u8, mode: u32, target: &str, content: &[u8]) -> Self {
        let pax = std::mem::take(&mut self.pax);
        if !pax.is_empty() {
            self.raw("pax", b'x', 0o644, "", &pax);
        }
        self.raw(name, kind, mode, target, content);
        self
    }

    fn raw(&mut self, name: &str, kind: u8, mode: u32, target: &str, content: &[u8]) {
        let mut header = [0u8; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, name.as_bytes());
        put(100, format!("{mode:07o}").as_bytes());
        put(108, format!("{:07o}", self.owner.0).as_bytes());
        put(116, format!("{:07o}", self.owner.1).as_bytes());
        put(124, format!("{:011o}", content.len()).as_bytes());
        put(136, format!("{:011o}", 1_700_000_000).as_bytes());
        put(148, b"        ");
        put(156, &[kind]);
        put(157, target.as_bytes());
        put(257, b"ustar\x0000");
        if matches!(kind, b'3' | b'4') {
            put(329, b"0000001");
            put(337, b"0000003");
        }
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend(header);
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }
}

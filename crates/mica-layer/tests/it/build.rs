//! Hand-made tars, down to the byte.

/// One entry: its header fields, and the bytes that follow the header.
#[derive(Clone)]
pub(crate) struct Made {
    before: Vec<u8>,
    path: Vec<u8>,
    typeflag: u8,
    link: Vec<u8>,
    mode: u32,
    uid: u64,
    gid: u64,
    size: u64,
    mtime: i64,
    device: (u32, u32),
    magic: [u8; 8],
    body: Vec<u8>,
}

fn new(path: impl AsRef<[u8]>, typeflag: u8) -> Made {
    Made {
        before: Vec::new(),
        path: path.as_ref().to_vec(),
        typeflag,
        link: Vec::new(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: 1_000_000_000,
        device: (0, 0),
        magic: *b"ustar\x0000",
        body: Vec::new(),
    }
}

pub(crate) fn file(path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Made {
    new(path, b'0').body(content)
}

pub(crate) fn dir(path: impl AsRef<[u8]>) -> Made {
    new(path, b'5').mode(0o755)
}

pub(crate) fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Made {
    Made { link: target.as_ref().to_vec(), ..new(path, b'2') }
}

pub(crate) fn hard(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Made {
    Made { link: target.as_ref().to_vec(), ..new(path, b'1') }
}

pub(crate) fn device(path: impl AsRef<[u8]>, typeflag: u8, major: u32, minor: u32) -> Made {
    Made { device: (major, minor), ..new(path, typeflag) }
}

pub(crate) fn other(path: impl AsRef<[u8]>, typeflag: u8) -> Made {
    new(path, typeflag)
}

/// A global PAX header.
pub(crate) fn global(records: &[(&str, &[u8])]) -> Made {
    new("pax_global_header", b'g').body(pax_records(records))
}

impl Made {
    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self.size = self.body.len() as u64;
        self
    }

    /// States a size that is not the body's.
    pub(crate) fn size(mut self, size: u64) -> Self {
        self.size = size;
        self
    }

    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    pub(crate) fn owner(mut self, uid: u64, gid: u64) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    pub(crate) fn mtime(mut self, mtime: i64) -> Self {
        self.mtime = mtime;
        self
    }

    pub(crate) fn magic(mut self, magic: &[u8; 8]) -> Self {
        self.magic = *magic;
        self
    }

    /// Puts a PAX header before this entry.
    pub(crate) fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.before.extend(new("PaxHeaders/x", b'x').body(pax_records(records)).bytes());
        self
    }

    /// Puts a GNU long name (`L`) or long link (`K`) before this entry.
    pub(crate) fn long(mut self, typeflag: u8, text: &[u8]) -> Self {
        let body = [text, b"\0"].concat();
        self.before.extend(new("././@LongLink", typeflag).magic(b"ustar  \0").body(body).bytes());
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut header = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.path);
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, &number(self.uid as i64, 8));
        put(116, &number(self.gid as i64, 8));
        put(124, &number(self.size as i64, 12));
        put(136, &number(self.mtime, 12));
        put(148, b"        ");
        put(156, &[self.typeflag]);
        put(157, &self.link);
        put(257, &self.magic);
        put(329, format!("{:07o}\0", self.device.0).as_bytes());
        put(337, format!("{:07o}\0", self.device.1).as_bytes());
        seal(&mut header);
        let mut bytes = self.before.clone();
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&self.body);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

/// Octal where it fits, else base-256.
fn number(value: i64, width: usize) -> Vec<u8> {
    if value >= 0 && value < 1 << (3 * (width - 1)) {
        return format!("{value:0digits$o}\0", digits = width - 1).into_bytes();
    }
    let mut bytes = vec![if value < 0 { 0xff } else { 0 }; width - 8];
    bytes.extend_from_slice(&value.to_be_bytes());
    bytes[0] |= 0x80;
    bytes
}

/// Puts the checksum that the header has.
pub(crate) fn seal(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub(crate) fn pax_records(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (1..9).map(|digits| rest + digits).find(|length| length.to_string().len() + rest == *length);
        body.extend_from_slice(format!("{} {key}=", length.unwrap()).as_bytes());
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    body
}

/// A whole tar, with the two blocks of zeros.
pub(crate) fn tar(entries: &[Made]) -> Vec<u8> {
    let mut tar: Vec<u8> = entries.iter().flat_map(Made::bytes).collect();
    tar.resize(tar.len() + 1024, 0);
    tar
}

use std::time::Duration;

use mica_sys::FileKind;

use super::*;

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn entry() -> Entry {
    let attr = Attr {
        ino: 77,
        size: 5,
        mtime: Time { secs: -2, nanos: 9 },
        mode: 0o100_644,
        nlink: 1,
        device: Device { major: 8, minor: 257 },
        ..Attr::default()
    };
    Entry { node: 3, generation: 4, entry_valid: Duration::new(5, 6), attr_valid: Duration::new(7, 8), attr }
}

#[test]
fn an_entry_has_its_attributes_at_byte_40() {
    let mut buffer = [0; 256];
    let mut out = Out::new(&mut buffer, opcode::LOOKUP);
    out.entry(&entry()).unwrap();
    let body = out.body();
    assert_eq!(body.len(), 128);
    assert_eq!([0, 8, 16, 24].map(|at| u64_at(body, at)), [3, 4, 5, 7]);
    assert_eq!((u32_at(body, 32), u32_at(body, 36)), (6, 8));
    assert_eq!((u64_at(body, 40), u64_at(body, 48)), (77, 5));
    assert_eq!(u64_at(body, 72).cast_signed(), -2);
    assert_eq!(u32_at(body, 100), 0o100_644);
    assert_eq!(u32_at(body, 116), 0x0010_0801);
}

#[test]
fn what_is_created_is_an_entry_and_an_open_file() {
    let mut buffer = [0; 256];
    let mut out = Out::new(&mut buffer, opcode::CREATE);
    let flags = OpenedFlags::PASSTHROUGH | OpenedFlags::KEEP_CACHE;
    out.created(&entry(), &Opened { handle: 11, flags, backing: 2 }).unwrap();
    let body = out.body();
    assert_eq!((body.len(), u64_at(body, 128), u32_at(body, 136), u32_at(body, 140)), (144, 11, 0x82, 2));
}

#[test]
fn device_numbers_are_the_same_after_the_wire() {
    for device in [(0, 0), (8, 257), (4095, 1_048_575), (1, 3), (254, 255)] {
        let device = Device { major: device.0, minor: device.1 };
        assert_eq!(Device::of_wire(device.to_wire()), device);
    }
    assert_eq!(Device { major: 1, minor: 3 }.to_wire(), 0x0103);
}

#[test]
fn names_are_put_as_long_as_they_fit() {
    let mut buffer = [0xaa; 512];
    let mut out = Out::new(&mut buffer, opcode::READDIR);
    let mut names = out.names(64);
    assert_eq!(names.listing(), Listing::Plain);
    assert!(names.put(b"abc", 1, 77, FileKind::Symlink, None), "24 and 3, of 32");
    assert!(names.fits(8) && !names.fits(9));
    assert!(!names.put(b"123456789", 2, 78, FileKind::File, None));
    assert!(names.put(b"12345678", 2, 78, FileKind::Directory, Some(&entry())), "an entry is left out");
    assert!(!names.put(b"", 3, 79, FileKind::File, None));
    let body = out.body();
    assert_eq!((body.len(), u64_at(body, 0), u64_at(body, 8)), (64, 77, 1));
    assert_eq!((u32_at(body, 16), u32_at(body, 20)), (3, 10));
    assert_eq!(&body[24..32], b"abc\0\0\0\0\0");
    assert_eq!((u64_at(body, 32), u32_at(body, 52), &body[56..]), (78, 4, &b"12345678"[..]));
}

#[test]
fn names_with_what_a_look_up_says_begin_with_it() {
    let mut buffer = [0xaa; 512];
    let mut out = Out::new(&mut buffer, opcode::READDIRPLUS);
    let mut names = out.names(u32::MAX);
    assert!(names.put(b".", 1, 1, FileKind::Directory, None));
    assert!(names.put(b"file", 2, 77, FileKind::File, Some(&entry())));
    assert!(names.fits(40) && !names.fits(41), "512 - 320 - 152 bytes");
    let body = out.body();
    assert_eq!(body.len(), 320);
    assert_eq!(body[..128], [0; 128], "`.` is not looked up");
    assert_eq!((u64_at(body, 128), u64_at(body, 136)), (1, 1));
    assert_eq!((u64_at(body, 160), u64_at(body, 160 + 128), u64_at(body, 160 + 136)), (3, 77, 2));
    assert_eq!(&body[160 + 152..], b"file\0\0\0\0");
}

#[test]
fn an_attribute_is_given_by_length_by_value_or_not_at_all() {
    let mut buffer = [0; 16];
    let mut out = Out::new(&mut buffer, opcode::GETXATTR);
    out.xattr(0, b"value").unwrap();
    assert_eq!((out.len(), u32_at(out.body(), 0)), (8, 5));
    out.xattr(5, b"value").unwrap();
    assert_eq!(out.body(), b"value");
    assert_eq!(out.xattr(4, b"value"), Err(Errno::RANGE));
    assert!(out.is_empty());
    assert_eq!(out.xattr(99, &[1; 17]), Err(Errno::RANGE));
}

#[test]
fn what_does_not_fit_is_an_error_and_puts_nothing() {
    let mut buffer = [0; 127];
    let mut out = Out::new(&mut buffer, opcode::LOOKUP);
    out.bytes(b"before").unwrap();
    assert_eq!(out.entry(&entry()), Err(Errno::IO));
    assert!(out.is_empty());
    assert!(!out.names(4000).put(&[b'x'; 104], 1, 1, FileKind::File, None));
    assert!(out.names(4000).put(&[b'x'; 96], 1, 1, FileKind::File, None));
    out.fill(4000, |room| Ok(room.len() + 5)).unwrap();
    assert_eq!(out.len(), 127, "no reader fills more than there is");
    assert_eq!(out.fill(1, |_| Err(Errno::NOSPC)), Err(Errno::NOSPC));
    assert!(out.is_empty());
}

#[test]
fn copied_bytes_are_said_in_the_words_of_the_request() {
    let mut buffer = [0; 16];
    let mut out = Out::new(&mut buffer, opcode::COPY_FILE_RANGE_64);
    out.copied(1 << 40).unwrap();
    assert_eq!(u64_at(out.body(), 0), 1 << 40);
    let mut out = Out::new(&mut buffer, opcode::COPY_FILE_RANGE);
    assert_eq!(out.copied(1 << 40), Err(Errno::IO));
    out.copied(7).unwrap();
    assert_eq!(u32_at(out.body(), 0), 7);
}

#[test]
fn a_reply_has_an_error_the_kernel_takes_or_a_body() {
    let reply = Reply::new(9, Ok(100));
    assert_eq!((reply.body_len(), u32_at(&reply.header(), 0), u64_at(&reply.header(), 8)), (100, 116, 9));
    assert_eq!(u32_at(&reply.header(), 4), 0);
    let reply = Reply::new(9, Err(Errno::NOENT));
    assert_eq!((reply.body_len(), u32_at(&reply.header(), 0)), (0, 16));
    assert_eq!(u32_at(&reply.header(), 4).cast_signed(), -2);
    for out_of_range in [512, 4095] {
        let header = Reply::new(9, Err(Errno::from_raw_os_error(out_of_range))).header();
        assert!((-511..0).contains(&u32_at(&header, 4).cast_signed()), "{out_of_range}");
    }
}

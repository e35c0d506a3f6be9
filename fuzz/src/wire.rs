//! Messages of the kernel to a FUSE server.

use std::ops::Range;

use mica_union::fuse::wire::{Dialect, Init, InitOffer, Malformed, Message, NAME_MAX, Out, Request, Wanted};

/// The kernel writes whole messages; here nobody relies on it.
pub fn fuse(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    let dialect = Dialect { setxattr_ext: which & 1 != 0 };
    let message = if which & 2 == 0 {
        // A length of its own would make nearly every input one that is refused for it.
        let mut bytes = bytes.to_vec();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_ne_bytes();
        if let Some(room) = bytes.get_mut(..4) {
            room.copy_from_slice(&length);
        }
        return look(&bytes, Message::of_device(&bytes), dialect);
    } else {
        let (header, rest) = bytes.split_at(bytes.len().min(40));
        let (structure, rest) = rest.split_at(rest.len().min(usize::from(which >> 2)));
        Message::of_ring(header, structure, rest)
    };
    look(bytes, message, dialect);
}

fn look(bytes: &[u8], message: Result<Message<'_>, Malformed>, dialect: Dialect) {
    let Ok(message) = message else { return };
    let caller = message.caller();
    assert_eq!(caller.unique, message.unique());
    let request = match message.request(dialect) {
        Ok(request) => request,
        Err(malformed) => return assert!(malformed.errno().raw_os_error() > 0),
    };
    let within = bytes.as_ptr_range();
    let part = |part: &[u8]| {
        let Range { start, end } = part.as_ptr_range();
        assert!(part.is_empty() || within.start <= start && end <= within.end, "a part of the message");
    };
    let name = |name: &[u8]| {
        part(name);
        assert!(!name.is_empty() && name.len() <= NAME_MAX && !name.contains(&0) && !name.contains(&b'/'));
    };
    match request {
        Request::Lookup { name: one, .. }
        | Request::Mknod { name: one, .. }
        | Request::Mkdir { name: one, .. }
        | Request::Unlink { name: one, .. }
        | Request::Rmdir { name: one, .. }
        | Request::Create { name: one, .. }
        | Request::Link { new_name: one, .. } => name(one),
        Request::Symlink { name: one, target, .. } => {
            name(one);
            part(target);
        }
        Request::Rename { name: one, new_name, .. } => {
            name(one);
            name(new_name);
        }
        Request::Write { data, .. } | Request::NotifyReply { data, .. } => part(data),
        Request::Setxattr { name: one, value, .. } => {
            part(one);
            part(value);
        }
        Request::Ioctl { input, .. } => part(input),
        Request::BatchForget { forgets } => assert!(forgets.count() * 16 <= bytes.len()),
        Request::Removemapping { mappings, .. } => assert!(mappings.count() * 16 <= bytes.len()),
        Request::Init(offer) => agree(&offer),
        _ => {}
    }
}

/// Nothing is agreed on that was not offered, and no buffer is longer than was asked for.
fn agree(offer: &InitOffer) {
    let wanted = Wanted { passthrough: Some(2), ..Wanted::default() };
    let Some(init) = Init::agree(offer, &wanted, 4096, true) else { return };
    assert!(offer.flags.contains(init.flags) && init.max_write <= wanted.max_write && init.minor <= offer.minor);
    assert!(Out::new(&mut [0; 64], 26).is_empty());
}

//! What a server tells the kernel unasked.

use zerocopy::IntoBytes;

use super::abi::{self, notice};

/// A notice. Its answer, an error of write(2), is immediate: `ENOENT` where the kernel does not know the node or name.
///
/// All but [`Notice::Resend`], [`Notice::IncEpoch`] and [`Notice::Poll`] may wait for a lock of the directory or for pages that a request
/// holds: who answers a request must not send one about what the request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'a> {
    /// Attributes of a node are not to be believed any more, nor the pages of `length` bytes from `offset`: 0 for all that follow;
    /// a negative offset leaves the pages.
    InvalInode {
        /// The node.
        node: u64,
        /// First byte.
        offset: i64,
        /// Bytes.
        length: i64,
    },
    /// What stands at a name is not to be believed any more.
    InvalEntry {
        /// The directory.
        parent: u64,
        /// The name.
        name: &'a [u8],
        /// It is asked for again when it is used next, and what is mounted below stays (Linux 6.2).
        expire_only: bool,
    },
    /// A name was removed: who watches it is told.
    Delete {
        /// The directory.
        parent: u64,
        /// What was there.
        child: u64,
        /// The name.
        name: &'a [u8],
    },
    /// Bytes of a file for the kernel to keep.
    Store {
        /// The file.
        node: u64,
        /// Where.
        offset: u64,
        /// What.
        data: &'a [u8],
    },
    /// Asks for what the kernel keeps; it comes as a `NOTIFY_REPLY`.
    Retrieve {
        /// The server's number for the question.
        unique: u64,
        /// The file.
        node: u64,
        /// Where.
        offset: u64,
        /// How many bytes.
        size: u32,
    },
    /// Who polls by this handle looks again.
    Poll {
        /// The handle of the `POLL` request.
        poll_handle: u64,
    },
    /// Requests that were read and not answered are sent again (Linux 6.9).
    Resend,
    /// No name that was looked up until now is to be believed (Linux 6.16).
    IncEpoch,
    /// The kernel may forget nodes that nobody uses (Linux 6.19): 8 bytes each.
    Prune {
        /// Their ids, one after the other in native byte order.
        nodes: &'a [u8],
    },
}

/// The longest structure of a notice.
const LONGEST: usize = size_of::<abi::RetrieveOut>();

impl<'a> Notice<'a> {
    /// Its bytes in two parts, to be sent by one writev(2): head, then data. `None` where a name or data are longer than a
    /// message can be.
    #[must_use]
    pub fn parts(&self) -> Option<(NoticeHead, [&'a [u8]; 2])> {
        let code;
        let mut head = NoticeHead { bytes: [0; super::OUT_HEADER + LONGEST], length: super::OUT_HEADER };
        let mut tail: [&[u8]; 2] = [&[], &[]];
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).ok();
        match *self {
            Self::InvalInode { node, offset, length } => {
                code = notice::INVAL_INODE;
                head.put(abi::InvalInodeOut { ino: node, off: offset, len: length }.as_bytes());
            }
            Self::InvalEntry { parent, name, expire_only } => {
                code = notice::INVAL_ENTRY;
                head.put(
                    abi::InvalEntryOut { parent, namelen: length(name)?, flags: u32::from(expire_only) }.as_bytes(),
                );
                tail = [name, &[0]];
            }
            Self::Delete { parent, child, name } => {
                code = notice::DELETE;
                head.put(abi::DeleteOut { parent, child, namelen: length(name)?, unused: 0 }.as_bytes());
                tail = [name, &[0]];
            }
            Self::Store { node, offset, data } => {
                code = notice::STORE;
                head.put(abi::StoreOut { nodeid: node, offset, size: length(data)?, unused: 0 }.as_bytes());
                tail = [data, &[]];
            }
            Self::Retrieve { unique, node, offset, size } => {
                code = notice::RETRIEVE;
                let raw = abi::RetrieveOut { notify_unique: unique, nodeid: node, offset, size, unused: 0 };
                head.put(raw.as_bytes());
            }
            Self::Poll { poll_handle } => {
                code = notice::POLL;
                head.put(abi::PollWakeupOut { kh: poll_handle }.as_bytes());
            }
            Self::Resend => code = notice::RESEND,
            Self::IncEpoch => code = notice::INC_EPOCH,
            Self::Prune { nodes } => {
                code = notice::PRUNE;
                head.put(abi::PruneOut { count: length(nodes)? / 8, unused: 0, unused2: 0 }.as_bytes());
                tail = [nodes, &[]];
            }
        }
        let whole = tail.iter().try_fold(head.length, |sum, part| sum.checked_add(part.len()))?;
        head.begin(abi::OutHeader { len: u32::try_from(whole).ok()?, error: code, unique: 0 });
        Some((head, tail))
    }
}

/// The header and the structure of a notice.
#[derive(Debug, Clone, Copy)]
pub struct NoticeHead {
    bytes: [u8; super::OUT_HEADER + LONGEST],
    length: usize,
}

impl NoticeHead {
    fn put(&mut self, structure: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.length..).and_then(|room| room.get_mut(..structure.len())) {
            room.copy_from_slice(structure);
            self.length += structure.len();
        }
    }

    fn begin(&mut self, header: abi::OutHeader) {
        if let Some(room) = self.bytes.get_mut(..super::OUT_HEADER) {
            room.copy_from_slice(header.as_bytes());
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(notice: &Notice<'_>) -> Vec<u8> {
        let (head, [name, end]) = notice.parts().unwrap();
        [head.bytes(), name, end].concat()
    }

    #[test]
    fn a_name_that_is_not_believed_any_more_is_ended_by_a_nul() {
        let bytes = whole(&Notice::InvalEntry { parent: 7, name: b"abc", expire_only: true });
        assert_eq!(bytes.len(), 36);
        assert_eq!(bytes[0..4], 36_u32.to_ne_bytes());
        assert_eq!(bytes[4..8], 3_i32.to_ne_bytes());
        assert_eq!(bytes[8..16], [0; 8]);
        assert_eq!(bytes[16..24], 7_u64.to_ne_bytes());
        assert_eq!(bytes[24..28], 3_u32.to_ne_bytes());
        assert_eq!(bytes[28..32], 1_u32.to_ne_bytes());
        assert_eq!(&bytes[32..], b"abc\0");
    }

    #[test]
    fn every_notice_says_its_length_and_number() {
        let notices = [
            (Notice::Poll { poll_handle: 1 }, 1, 24),
            (Notice::InvalInode { node: 1, offset: -1, length: 0 }, 2, 40),
            (Notice::Store { node: 1, offset: 4, data: b"12345" }, 4, 45),
            (Notice::Retrieve { unique: 1, node: 2, offset: 3, size: 4 }, 5, 48),
            (Notice::Delete { parent: 1, child: 2, name: b"n" }, 6, 42),
            (Notice::Resend, 7, 16),
            (Notice::IncEpoch, 8, 16),
            (Notice::Prune { nodes: &[0; 16] }, 9, 48),
        ];
        for (notice, code, length) in notices {
            let bytes = whole(&notice);
            assert_eq!((bytes.len(), &bytes[4..8]), (length, &i32::to_ne_bytes(code)[..]), "{notice:?}");
            assert_eq!(bytes[0..4], u32::try_from(length).unwrap().to_ne_bytes());
        }
    }
}

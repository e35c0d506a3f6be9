//! A user as an image names it, looked up in the image's own `/etc/passwd` and `/etc/group`.
//!
//! The rules are Docker's (moby/sys/user, `GetExecUser`). Both files are a stranger's: they are opened inside the root, must be
//! regular, are read up to 4 MiB, and lines that mean nothing are passed over.

use mica_sys::{Dir, FileKind, SysError};

/// The most that is read of either file, in bytes.
const LARGEST: u64 = 4 * 1024 * 1024;

/// The largest id that Docker takes.
const LARGEST_ID: u32 = i32::MAX.cast_unsigned();

/// Who a command runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory; `/` for a user that the image does not list.
    pub home: String,
}

/// A user that cannot be had from an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// No such user, and not a number.
    #[error("the image has no user {name:?}")]
    NoUser {
        /// As it was asked for.
        name: String,
    },
    /// No such group, and not a number.
    #[error("the image has no group {name:?}")]
    NoGroup {
        /// As it was asked for.
        name: String,
    },
    /// A number above 2³¹-1.
    #[error("{id:?} is not an id: those are 0 to 2147483647")]
    Range {
        /// As it was asked for.
        id: String,
    },
    /// A file of the image is something else.
    #[error("{path} of the image is not a regular file")]
    NotAFile {
        /// Which.
        path: &'static str,
    },
    /// A file of the image could not be read.
    #[error("cannot read {path} of the image")]
    Read {
        /// Which.
        path: &'static str,
        /// Why; `EFBIG` for one above 4 MiB.
        #[source]
        source: SysError,
    },
}

/// Looks `user` up: `name`, `uid`, `name:group`, `uid:gid` and the like; empty is root. An absent file lists nobody.
///
/// # Errors
/// [`UserError`]; a name that is not listed, or a file that is not readable.
pub fn resolve(root: &Dir, user: &str) -> Result<User, UserError> {
    let passwd = read(root, "/etc/passwd")?;
    let group = read(root, "/etc/group")?;
    look_up(user, &passwd, &group)
}

fn read(root: &Dir, path: &'static str) -> Result<String, UserError> {
    let wrong = |source| UserError::Read { path, source };
    let mut file = match root.open_file_in_root(path.as_bytes()) {
        Err(error) if error.is_not_found() || error.errno() == mica_sys::Errno::NOTDIR => return Ok(String::new()),
        file => file.map_err(wrong)?,
    };
    if file.metadata().map_err(wrong)?.kind != FileKind::File {
        return Err(UserError::NotAFile { path });
    }
    let bytes = file.read_all(LARGEST).map_err(wrong)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What of a line of /etc/passwd matters.
struct Listed<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn listed(line: &str) -> Option<Listed<'_>> {
    let mut fields = line.trim().split(':');
    let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(Listed { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
}

/// Name, id and members of a line of /etc/group.
fn group_line(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.trim().split(':');
    let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    let gid = fields.nth(1)?.parse().ok()?;
    Some((name, gid, fields.next().unwrap_or_default()))
}

/// The id that `text` spells; `None` where it is no number.
fn id(text: &str) -> Option<Result<u32, UserError>> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let id = text.parse().ok().filter(|id| *id <= LARGEST_ID);
    Some(id.ok_or_else(|| UserError::Range { id: text.to_owned() }))
}

fn look_up(user: &str, passwd: &str, group: &str) -> Result<User, UserError> {
    let (user_part, group_part) = user.split_once(':').unwrap_or((user, ""));
    let mut lines = passwd.lines().filter_map(listed);
    // A number means the id, even where a user has it for a name.
    let number = if user_part.is_empty() { Some(0) } else { id(user_part).transpose()? };
    let found = match number {
        Some(uid) => lines.find(|line| line.uid == uid),
        None => lines.find(|line| line.name == user_part),
    };
    let (uid, gid, home, name) = match (found, number) {
        (Some(line), _) => (line.uid, line.gid, line.home, line.name),
        (None, Some(uid)) => (uid, 0, "/", ""),
        (None, None) => return Err(UserError::NoUser { name: user_part.to_owned() }),
    };
    let home = if home.is_empty() { "/" } else { home }.to_owned();
    let groups = group.lines().filter_map(group_line);
    if group_part.is_empty() {
        let member = |members: &str| !name.is_empty() && members.split(',').any(|member| member == name);
        let groups = groups.filter(|(_, _, members)| member(members)).map(|(_, gid, _)| gid).collect();
        return Ok(User { uid, gid, groups, home });
    }
    let gid = match id(group_part).transpose()? {
        Some(gid) => gid,
        None => groups
            .into_iter()
            .find_map(|(name, gid, _)| (name == group_part).then_some(gid))
            .ok_or_else(|| UserError::NoGroup { name: group_part.to_owned() })?,
    };
    Ok(User { uid, gid, groups: Vec::new(), home })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# no one\n\nbroken\na:x:1000:1000:A:/home/a:/bin/sh\n\
        77:x:5:5::/number:\nbad:x:minus:0::/:\nhomeless:x:8:9\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:a,root\nwheel:x:10:a\nodd\na:x:1000:\n";

    fn found(user: &str) -> (u32, u32, Vec<u32>, String) {
        let user = look_up(user, PASSWD, GROUP).unwrap();
        (user.uid, user.gid, user.groups, user.home)
    }

    #[test]
    fn users_are_found_as_docker_finds_them() {
        let cases = [
            ("", (0, 0, vec![50], "/root")),
            ("root", (0, 0, vec![50], "/root")),
            ("a", (1000, 1000, vec![50, 10], "/home/a")),
            ("1000", (1000, 1000, vec![50, 10], "/home/a")),
            ("77", (77, 0, vec![], "/")),
            ("4711", (4711, 0, vec![], "/")),
            ("a:wheel", (1000, 10, vec![], "/home/a")),
            ("a:7", (1000, 7, vec![], "/home/a")),
            ("4711:staff", (4711, 50, vec![], "/")),
            ("homeless", (8, 9, vec![], "/")),
        ];
        for (asked, (uid, gid, groups, home)) in cases {
            assert_eq!(found(asked), (uid, gid, groups, home.to_owned()), "{asked:?}");
        }
    }

    #[test]
    fn who_is_not_listed_is_named_in_the_error() {
        let error = |user: &str| look_up(user, PASSWD, GROUP).unwrap_err().to_string();
        assert_eq!(error("b"), "the image has no user \"b\"");
        assert_eq!(error("a:nobody"), "the image has no group \"nobody\"");
        assert!(error("2147483648").contains("\"2147483648\""));
        assert!(error("a:4294967296").contains("\"4294967296\""));
        assert!(error("bad").contains("no user"));
    }

    #[test]
    fn files_of_the_image_are_read_inside_it_and_only_when_they_are_files() {
        let temp = std::env::temp_dir().join(format!("mica-users-{}", std::process::id()));
        std::fs::create_dir_all(temp.join("etc")).unwrap();
        let root = Dir::open(&temp).unwrap();
        let none = resolve(&root, "0").unwrap();
        assert_eq!((none.uid, none.home.as_str()), (0, "/"), "an image without the files");
        // The host's file exists there; inside the root nothing does.
        std::os::unix::fs::symlink("/../../../../../../etc/hostname", temp.join("etc/group")).unwrap();
        std::fs::create_dir(temp.join("etc/passwd")).unwrap();
        let error = resolve(&root, "root").unwrap_err();
        assert!(matches!(error, UserError::NotAFile { path: "/etc/passwd" }), "{error}");
        std::fs::remove_dir(temp.join("etc/passwd")).unwrap();
        assert_eq!(resolve(&root, "1:1").unwrap().gid, 1);
        std::fs::remove_file(temp.join("etc/group")).unwrap();
        std::fs::remove_dir(temp.join("etc")).unwrap();
        std::fs::remove_dir(&temp).unwrap();
    }
}

//! The unions that the kit is played on.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// In a template, where our program stands.
const PROGRAM: &str = "{mica-fuse}";

/// A union, and the command that mounts it. `{lower}`, `{upper}`, `{work}` and `{mnt}` are the kit's to fill in.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) name: &'static str,
    mount: &'static str,
    /// In a user namespace, where that takes other words.
    mount_as_user: Option<&'static str>,
    /// Programs that it is made of.
    pub(super) needs: &'static [&'static str],
    /// The kernel's rings are turned on for it.
    pub(super) ring: bool,
}

const fn peer(name: &'static str, mount: &'static str, needs: &'static [&'static str]) -> Subject {
    Subject { name, mount, mount_as_user: None, needs, ring: false }
}

const fn ours(name: &'static str, mount: &'static str, ring: bool) -> Subject {
    Subject { name, mount, mount_as_user: None, needs: &[], ring }
}

/// Ours, by each transport.
pub(super) static OURS: [Subject; 2] = [
    ours("mica", "{mica-fuse} -o lowerdir={lower},upperdir={upper},workdir={work},transport=device {mnt}", false),
    ours("mica-ring", "{mica-fuse} -o lowerdir={lower},upperdir={upper},workdir={work},transport=ring {mnt}", true),
];

/// Plain ext4, which is no union and keeps every promise; and what others made.
static PEERS: [Subject; 5] = [
    peer(
        "ext4",
        "truncate -s 8G {work}/img && mkfs.ext4 -qF {work}/img && mount -o loop {work}/img {mnt} && cp -a {lower}/. {mnt}/ && rmdir {mnt}/lost+found",
        &["mkfs.ext4"],
    ),
    Subject {
        name: "overlay",
        mount: "mount -t overlay overlay -o lowerdir={lower},upperdir={upper},workdir={work} {mnt}",
        mount_as_user: Some(
            "mount -t overlay overlay -o lowerdir={lower},upperdir={upper},workdir={work},userxattr {mnt}",
        ),
        needs: &["mount"],
        ring: false,
    },
    peer(
        "overlay-full",
        "mount -t overlay overlay -o lowerdir={lower},upperdir={upper},workdir={work},index=on,redirect_dir=on,metacopy=off,xino=on {mnt}",
        &["mount"],
    ),
    Subject {
        name: "fuse-overlayfs",
        mount: "fuse-overlayfs -o lowerdir={lower},upperdir={upper},workdir={work},dev,suid {mnt}",
        mount_as_user: Some("fuse-overlayfs -o lowerdir={lower},upperdir={upper},workdir={work} {mnt}"),
        needs: &["fuse-overlayfs"],
        ring: false,
    },
    peer(
        "unionfs-fuse",
        "unionfs -o cow,allow_other,default_permissions,use_ino,suid,dev {upper}=RW:{lower}=RO {mnt}",
        &["unionfs"],
    ),
];

/// The subject of that name.
pub(super) fn named(name: &str) -> Result<&'static Subject> {
    match OURS.iter().chain(&PEERS).find(|subject| subject.name == name) {
        Some(subject) => Ok(subject),
        None => {
            let names: Vec<_> = OURS.iter().chain(&PEERS).map(|subject| subject.name).collect();
            bail!("no subject {name:?}; there are {}", names.join(", "))
        }
    }
}

/// Those of these names; ours where there are none.
pub(super) fn asked(names: &[&str]) -> Vec<&'static Subject> {
    let all = OURS.iter().chain(&PEERS);
    all.filter(|subject| names.contains(&subject.name) || names.is_empty() && subject.name.starts_with("mica"))
        .collect()
}

impl Subject {
    /// Whether our program mounts it.
    pub(super) fn is_ours(&self) -> bool {
        self.mount.contains(PROGRAM)
    }

    /// The command, with our program in it. An ordinary user may not reach where that was built, and gets a copy in `place`.
    pub(super) fn template(&self, user: bool, mica_fuse: &Path, place: &Path) -> Result<String> {
        let mount = self.mount_as_user.filter(|_| user).unwrap_or(self.mount);
        if !self.is_ours() {
            return Ok(mount.to_owned());
        }
        let copy = place.join("mica-fuse");
        std::fs::copy(mica_fuse, &copy).with_context(|| format!("cannot copy {}", mica_fuse.display()))?;
        Ok(mount.replace(PROGRAM, &copy.display().to_string()))
    }
}

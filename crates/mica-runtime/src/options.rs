//! A mount's options in the words of mount(8), as the kernel's new calls take them.

use mica_sys::mount::{MountAttrFlags as Attr, Propagation, Reach};

/// What a list of options says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Attributes of the mount to set.
    pub(crate) set: Attr,
    /// Attributes of the mount to clear, where it is a copy of another.
    pub(crate) clear: Attr,
    /// The read-only flag is for what is mounted below, too.
    pub(crate) read_only_tree: bool,
    /// A copy of a mount, and whether with what is mounted below.
    pub(crate) bind: Option<Reach>,
    /// Who sees later mounts below it.
    pub(crate) propagation: Option<(Propagation, Reach)>,
    /// Devices on it may be opened; said, not left open.
    pub(crate) devices: bool,
    /// What is left for the file system, with values where there is a `=`.
    pub(crate) data: Vec<(String, Option<String>)>,
}

/// Reads options; later ones win.
pub(crate) fn parse(list: &[String]) -> Options {
    let mut options = Options {
        set: Attr::empty(),
        clear: Attr::empty(),
        read_only_tree: false,
        bind: None,
        propagation: None,
        devices: false,
        data: Vec::new(),
    };
    for option in list {
        options.read(option);
    }
    options
}

impl Options {
    fn read(&mut self, option: &str) {
        match option {
            "ro" => self.on(Attr::MOUNT_ATTR_RDONLY),
            "rro" => {
                self.on(Attr::MOUNT_ATTR_RDONLY);
                self.read_only_tree = true;
            }
            "rw" => self.off(Attr::MOUNT_ATTR_RDONLY),
            "nosuid" => self.on(Attr::MOUNT_ATTR_NOSUID),
            "suid" => self.off(Attr::MOUNT_ATTR_NOSUID),
            "noexec" => self.on(Attr::MOUNT_ATTR_NOEXEC),
            "exec" => self.off(Attr::MOUNT_ATTR_NOEXEC),
            "nodev" => {
                self.on(Attr::MOUNT_ATTR_NODEV);
                self.devices = false;
            }
            "dev" => {
                self.off(Attr::MOUNT_ATTR_NODEV);
                self.devices = true;
            }
            "nodiratime" => self.on(Attr::MOUNT_ATTR_NODIRATIME),
            "diratime" => self.off(Attr::MOUNT_ATTR_NODIRATIME),
            "nosymfollow" => self.on(Attr::MOUNT_ATTR_NOSYMFOLLOW),
            "symfollow" => self.off(Attr::MOUNT_ATTR_NOSYMFOLLOW),
            "relatime" => self.access_time(Attr::MOUNT_ATTR_RELATIME),
            "noatime" => self.access_time(Attr::MOUNT_ATTR_NOATIME),
            "strictatime" => self.access_time(Attr::MOUNT_ATTR_STRICTATIME),
            "bind" => self.bind = Some(Reach::One),
            "rbind" => self.bind = Some(Reach::Tree),
            "private" => self.propagation = Some((Propagation::Private, Reach::One)),
            "rprivate" => self.propagation = Some((Propagation::Private, Reach::Tree)),
            "shared" => self.propagation = Some((Propagation::Shared, Reach::One)),
            "rshared" => self.propagation = Some((Propagation::Shared, Reach::Tree)),
            "slave" => self.propagation = Some((Propagation::Downstream, Reach::One)),
            "rslave" => self.propagation = Some((Propagation::Downstream, Reach::Tree)),
            "unbindable" => self.propagation = Some((Propagation::Unbindable, Reach::One)),
            "runbindable" => self.propagation = Some((Propagation::Unbindable, Reach::Tree)),
            "defaults" => {}
            other => self.data.push(match other.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (other.to_owned(), None),
            }),
        }
    }

    fn on(&mut self, attr: Attr) {
        self.set |= attr;
        self.clear -= attr;
    }

    fn off(&mut self, attr: Attr) {
        self.clear |= attr;
        self.set -= attr;
    }

    /// The three modes share bits: mount_setattr(2) wants all of them cleared before one is set.
    fn access_time(&mut self, mode: Attr) {
        self.set -= Attr::MOUNT_ATTR__ATIME;
        self.set |= mode;
        self.clear |= Attr::MOUNT_ATTR__ATIME;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[&str]) -> Options {
        parse(&list.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_later_of_two_opposites_wins() {
        assert_eq!(of(&["ro", "rw"]).set, Attr::empty());
        assert_eq!(of(&["ro", "rw"]).clear, Attr::MOUNT_ATTR_RDONLY);
        assert_eq!(of(&["rw", "ro"]).set, Attr::MOUNT_ATTR_RDONLY);
        assert_eq!(of(&["noatime", "strictatime"]).set, Attr::MOUNT_ATTR_STRICTATIME);
        assert_eq!(of(&["strictatime", "relatime"]).set, Attr::empty());
        assert!(!of(&["dev", "nodev"]).devices);
    }

    #[test]
    fn what_is_not_the_mounts_is_the_file_systems() {
        let options = of(&["nosuid", "mode=1777", "newinstance", "rbind"]);
        let expected = vec![("mode".to_owned(), Some("1777".to_owned())), ("newinstance".to_owned(), None)];
        assert_eq!(options.data, expected);
        assert_eq!(options.bind, Some(Reach::Tree));
    }
}

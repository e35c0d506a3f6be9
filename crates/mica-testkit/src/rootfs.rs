//! Root file systems to run things in.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::gate::find_program;

/// Makes a root file system of one static program in `root`: busybox and its names, with the directories and accounts that
/// programs expect. Needs `needs!(program "busybox")`, and it must be a static one (Debian's `busybox-static`).
pub fn busybox_rootfs(root: &Path) {
    let busybox = find_program("busybox").expect("busybox is installed");
    for (dir, mode) in [
        ("bin", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("proc", 0o755),
        ("root", 0o700),
        ("run", 0o755),
        ("sys", 0o755),
        ("tmp", 0o1777),
        ("var", 0o755),
    ] {
        let path = root.join(dir);
        fs::create_dir_all(&path).expect("a directory of the root file system");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
    }
    fs::copy(&busybox, root.join("bin/busybox")).expect("busybox is copied");
    let names = Command::new(&busybox).arg("--list").output().expect("busybox runs").stdout;
    for name in String::from_utf8(names).expect("names of applets").lines().filter(|name| *name != "busybox") {
        symlink("busybox", root.join("bin").join(name)).expect("an applet");
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
        .expect("etc/passwd");
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n").expect("etc/group");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Scratch, needs};

    #[test]
    fn a_shell_runs_in_the_root_file_system() {
        needs!(root, program "busybox", program "chroot");
        let scratch = Scratch::new();
        busybox_rootfs(scratch.path());
        let ran =
            Command::new("chroot").arg(scratch.path()).args(["/bin/sh", "-c", "id -un; ls -d /tmp"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ran.stdout), "root\n/tmp\n", "{}", String::from_utf8_lossy(&ran.stderr));
    }
}

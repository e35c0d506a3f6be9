//! Who stands where: an ordinary user's store, what it records, and who is refused it.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use mica_sys::mount::{Mount, MountFlags, Reach, SetAttrs, mount};
use mica_testkit::{OrdinaryUser, Scratch, in_mount_namespace, needs};
use serde_json::{Value, json};

use crate::common::{Mica, Said};

/// One error with these words and one hint with those.
#[track_caller]
fn refused(said: &Said, words: &[&str], hint: &str) {
    assert_eq!((said.status, said.out.as_str()), (125, ""), "{said:#?}");
    let lines: Vec<&str> = said.err.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("mica: ") && lines[1].starts_with("hint: "), "{said:#?}");
    for word in words {
        assert!(lines[0].contains(word), "no {word:?} in {said:#?}");
    }
    assert!(lines[1].contains(hint), "no {hint:?} in {said:#?}");
}

/// As [`refused`], and the store is as it was.
#[track_caller]
fn refused_unchanged(mica: &Mica, words: &[&str], hint: &str) {
    let before = mica.contents();
    refused(&mica.try_run(["images"]), words, hint);
    refused(&mica.try_run(["import", "-q", "/etc", "x"]), words, hint);
    assert_eq!(mica.contents(), before);
}

fn format_of(root: &Path) -> Value {
    serde_json::from_slice(&fs::read(root.join("format.json")).unwrap()).unwrap()
}

fn row(container: u32, host: u32, size: u32) -> Value {
    json!({ "container": container, "host": host, "size": size })
}

/// Runs a shell in `mica unshare`.
fn unshared(mica: &Mica, script: &str) -> Said {
    let program = mica.user().scratch().path().join("bin/mica");
    let script = script.replace("mica ", &format!("{} ", program.display()));
    mica.try_run(["unshare", "sh", "-c", &script])
}

/// A small tree of the user's, to import.
fn small(mica: &Mica) -> PathBuf {
    let path = mica.path("small");
    fs::create_dir(&path).unwrap();
    fs::create_dir(path.join("etc")).unwrap();
    fs::write(path.join("etc/motd"), "hello\n").unwrap();
    ["", "etc", "etc/motd"].iter().for_each(|name| mica.user().give(&path.join(name)));
    path
}

#[test]
fn a_store_is_the_users_and_records_the_map() {
    needs!(ordinary_user);
    let mica = Mica::of(OrdinaryUser::with_range());
    assert_eq!(mica.run(["images"]).err, "", "there is nothing to be told of");
    let (uid, (first, count)) = (mica.user().uid(), mica.user().range());
    assert_eq!(fs::metadata(mica.root()).unwrap().uid(), uid);
    let format = format_of(mica.root());
    let rows = json!([row(0, uid, 1), row(1, first, count)]);
    assert_eq!((&format["marks"], &format["owners"]), (&json!("user"), &json!("mapped")));
    assert_eq!((&format["idmap"], &format["gidmap"]), (&rows, &rows));
    let info = mica.run(["system", "info"]).out;
    assert!(info.contains("Rootless:   yes\n"), "{info}");
    assert!(info.contains(&format!("Owners:     mapped (0:{uid}:1, 1:{first}:{count})\n")), "{info}");
    let info: Value = serde_json::from_str(&mica.run(["system", "info", "--format", "json"]).out).unwrap();
    assert_eq!((&info["Rootless"], &info["Owners"]), (&json!(true), &json!("mapped")));
    assert_eq!(info["GIDMap"][1], json!({ "ContainerID": 1, "HostID": first, "Size": count }));
}

#[test]
fn several_ranges_by_name_and_by_number_are_as_many_rows() {
    needs!(ordinary_user);
    let user = OrdinaryUser::with_range();
    let ((first, _), uid, name) = (user.range(), user.uid(), user.name());
    let (second, third) = (first + 10, first + 1000);
    let users = format!("nobody:1:1\n{name}:{first}:10\n# {uid}:7:7\n{uid}:{third}:5\n{name}:{first}:10\n");
    user.set_ranges(&users, &format!("{uid}:{second}:70000"));
    let mica = Mica::of(user);
    mica.run(["images"]);
    let format = format_of(mica.root());
    assert_eq!(format["idmap"], json!([row(0, uid, 1), row(1, first, 10), row(11, third, 5)]));
    assert_eq!(format["gidmap"], json!([row(0, uid, 1), row(1, second, 70000)]));
    mica.run(["images"]);
}

#[test]
fn without_a_range_one_id_is_mapped_and_it_is_said_once() {
    needs!(ordinary_user);
    let mica = Mica::of(OrdinaryUser::without_range());
    let said = mica.run(["images"]);
    let line = said.err.trim_end();
    assert!(line.starts_with("mica: /etc/subuid and /etc/subgid have no range for mica-tester"), "{said:#?}");
    assert!(line.contains("usermod --add-subuids") && !line.contains('\n'), "{said:#?}");
    assert_eq!(mica.run(["images"]).err, "", "once");
    let format = format_of(mica.root());
    let uid = mica.user().uid();
    assert_eq!((&format["owners"], &format["idmap"]), (&json!("single"), &json!([row(0, uid, 1)])));
    assert_eq!(format["gidmap"], json!([row(0, uid, 1)]));
    mica.run(["import", "-q", small(&mica).to_str().unwrap(), "small"]);
    mica.assert_whole();
    let info = mica.run(["system", "info"]).out;
    assert!(info.contains("Owners:     single (0:") && info.contains("no range for mica-tester"), "{info}");
}

#[test]
fn a_user_without_a_name_is_known_by_number() {
    needs!(ordinary_user);
    let user = OrdinaryUser::with_range();
    fs::copy("/etc/passwd", user.scratch().path().join("etc/passwd")).unwrap();
    let mica = Mica::of(user);
    let said = mica.run(["images"]);
    let words = format!("mica: /etc/subuid and /etc/subgid have no range for {},", mica.user().uid());
    assert!(said.err.starts_with(&words), "{said:#?}");
    assert_eq!(format_of(mica.root())["owners"], "single");
}

#[test]
fn a_range_of_users_alone_is_none() {
    needs!(ordinary_user);
    let user = OrdinaryUser::with_range();
    let (first, count) = user.range();
    user.set_ranges(&format!("{}:{first}:{count}", user.name()), "");
    let said = Mica::of(user).run(["images"]);
    assert!(said.err.starts_with("mica: /etc/subgid has no range for"), "{said:#?}");
}

#[test]
fn without_the_programs_one_id_is_mapped_and_it_is_said_once() {
    needs!(ordinary_user);
    for program in ["newuidmap", "newgidmap"] {
        let mut user = OrdinaryUser::with_range();
        user.hide(program);
        let mica = Mica::of(user);
        let said = mica.run(["images"]);
        assert!(said.err.starts_with(&format!("mica: {program} is not installed, so one ID")), "{said:#?}");
        assert!(said.err.contains("uidmap") && said.err.lines().count() == 1, "{said:#?}");
        assert_eq!(mica.run(["images"]).err, "", "once");
        assert_eq!(format_of(mica.root())["owners"], "single");
    }
}

#[test]
fn a_user_who_gets_a_range_later_is_told_what_to_do_with_the_old_store() {
    needs!(ordinary_user);
    let mica = Mica::of(OrdinaryUser::without_range());
    mica.run(["import", "-q", small(&mica).to_str().unwrap(), "small"]);
    let (name, (first, count)) = (mica.user().name(), mica.user().range());
    let line = format!("{name}:{first}:{count}\n");
    mica.user().set_ranges(&line, &line);
    refused_unchanged(
        &mica,
        &["was made with user marks and single owners", "and this is user marks and mapped"],
        "mica save",
    );
    // What the hint says works.
    let program = mica.user().scratch().path().join("bin/mica");
    let save = "unshare -r \"$0\" save -q -o out.tar small && MICA_ROOT=new \"$0\" load -q -i out.tar && \"$0\" unshare rm -rf store";
    let said = unprivileged(&mica, save, &program);
    assert_eq!(said.status, 0, "{said:#?}");
    assert_eq!(format_of(&mica.user().home().join("new"))["owners"], "mapped");
    assert!(!mica.root().exists());
}

#[test]
fn another_map_than_the_stores_is_refused() {
    needs!(ordinary_user);
    let mica = Mica::of(OrdinaryUser::with_range());
    let (name, (first, count)) = (mica.user().name(), mica.user().range());
    mica.run(["images"]);
    let line = format!("{name}:{}:{count}\n", first + 1);
    mica.user().set_ranges(&line, &line);
    refused_unchanged(&mica, &[&format!("1:{first}:{count}"), &format!("1:{}:{count}", first + 1)], "put the ranges");
    mica.user().set_ranges("", "");
    refused_unchanged(&mica, &["mapped owners", "this is user marks and single"], "have no range for mica-tester");
}

#[test]
fn a_refusing_program_is_quoted() {
    needs!(ordinary_user);
    let mica = Mica::of(OrdinaryUser::with_range());
    let bin = mica.user().scratch().make("fake");
    let fake = bin.join("newgidmap");
    fs::write(&fake, "#!/bin/sh\necho 'newgidmap: gid range in use' >&2\nexit 3\n").unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let said =
        Said::of(mica.command(["images"]).env("PATH", format!("{}:/usr/bin:/bin", bin.display())).output().unwrap());
    let what = format!("{} did not map 0:{}:1,", fake.display(), mica.user().uid());
    refused(&said, &[&what, "(exit status 3): newgidmap: gid range in use"], "set-uid root");
    // One that says nothing and does nothing has not done it either.
    fs::write(&fake, "#!/bin/sh\nexit 0\n").unwrap();
    let said =
        Said::of(mica.command(["images"]).env("PATH", format!("{}:/usr/bin:/bin", bin.display())).output().unwrap());
    refused(&said, &["did not map", "(exit status 0)"], "set-uid root");
    assert!(!mica.root().exists());
}

#[test]
fn a_process_that_may_not_gain_rights_is_told_so() {
    needs!(ordinary_user);
    let mica = Mica::of(OrdinaryUser::with_range());
    let program = mica.user().scratch().path().join("bin/mica");
    let script = "exec setpriv --no-new-privs \"$0\" images";
    let said = unprivileged(&mica, script, &program);
    refused(&said, &["newuidmap did not map", "newuidmap: "], "no_new_privs");
}

/// A shell of the user, with the program that `mica.command` brings in as `$0`.
fn unprivileged(mica: &Mica, script: &str, program: &Path) -> Said {
    let bring = mica.command([] as [&OsStr; 0]);
    let args: Vec<_> = bring.get_args().map(OsStr::to_owned).collect();
    let before: Vec<_> = args.iter().take_while(|arg| *arg != "--").collect();
    let mut command = std::process::Command::new(bring.get_program());
    command.args(before).args(["--", "sh", "-c", script]).arg(program).env_clear();
    for (name, value) in bring.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    Said::of(command.output().unwrap())
}

#[test]
fn switched_off_namespaces_are_an_error_with_the_switch() {
    needs!(ordinary_user);
    let mica = Mica::of(OrdinaryUser::with_range());
    // The limit counts for namespaces below this one; user 1 of it is as ordinary as any.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && chmod 777 . && exec setpriv --reuid 1 --regid 1 --clear-groups \
                  mica --root ./other images";
    fs::set_permissions(mica.user().home(), fs::Permissions::from_mode(0o777)).unwrap();
    let said = unshared(&mica, script);
    refused(
        &said,
        &["enter a user namespace: cannot make a user namespace: unshare"],
        "user.max_user_namespaces is 0; an administrator allows them by `sysctl user.max_user_namespaces=15000`",
    );
    assert!(!mica.user().home().join("other").exists());
}

#[test]
fn the_places_of_a_user_and_none_without_a_home() {
    needs!(ordinary_user);
    let mica = Mica::of(OrdinaryUser::with_range());
    let at = |set: &[(&str, &str)], unset: &[&str]| {
        let mut command = mica.command(["system", "info", "--format", "{{.StoreRoot}} {{.RunRoot}}"]);
        command.env_remove("MICA_ROOT").env_remove("MICA_RUN_ROOT").envs(set.iter().copied());
        for name in unset {
            command.env_remove(name);
        }
        Said::of(command.output().unwrap())
    };
    let (home, runtime) = (mica.user().home(), mica.user().runtime_dir());
    let (home, runtime) = (home.display(), runtime.display());
    let data = format!("{home}/data");
    assert_eq!(at(&[], &[]).line(), format!("{home}/.local/share/mica {runtime}/mica"));
    assert_eq!(at(&[("XDG_DATA_HOME", &data)], &[]).line(), format!("{data}/mica {runtime}/mica"));
    assert_eq!(at(&[("XDG_DATA_HOME", &data)], &["XDG_RUNTIME_DIR"]).line(), format!("{data}/mica {data}/mica/run"));
    assert_eq!(fs::metadata(format!("{data}/mica/run")).unwrap().mode() & 0o7777, 0o700);
    let said = at(&[], &["HOME"]);
    refused(&said, &["there is no place for a store: neither XDG_DATA_HOME nor HOME"], "--root");
    assert_eq!(at(&[("XDG_DATA_HOME", &data)], &["HOME"]).status, 0);
}

#[test]
fn a_run_root_that_cannot_be_made_is_named() {
    needs!(ordinary_user);
    let mica = Mica::of(OrdinaryUser::with_range());
    let closed = mica.user().scratch().make("closed").join("mica");
    let said = Said::of(mica.command(["images"]).env("MICA_RUN_ROOT", &closed).output().unwrap());
    refused(&said, &[&format!("the run root {} cannot be made: mkdir", closed.display()), "denied"], "--run-root");
}

#[test]
fn roots_that_are_not_text_are_refused_before_anything_is_made() {
    use std::os::unix::ffi::OsStrExt as _;
    let mica = Mica::new();
    let odd = mica.path("").join(std::ffi::OsStr::from_bytes(b"\xff"));
    for variable in ["MICA_ROOT", "MICA_RUN_ROOT"] {
        let said = Said::of(mica.command(["images"]).env(variable, &odd).output().unwrap());
        refused(&said, &["\\xFF\" is not UTF-8"], "name another directory with --root");
    }
    assert!(!odd.exists() && !mica.root().exists());
}

#[test]
fn a_store_of_root_is_not_a_users_nor_a_users_roots() {
    needs!(ordinary_user);
    let mica = Mica::of(OrdinaryUser::with_range());
    let roots = Mica::at(mica.path("roots"));
    roots.run(["images"]);
    assert_eq!(format_of(roots.root())["owners"], "native");
    assert!(format_of(roots.root()).get("gidmap").is_none());
    let closed = Said::of(mica.command(["images"]).env("MICA_ROOT", roots.root()).output().unwrap());
    refused(&closed, &["open the store", "Permission denied"], "--root");
    fs::set_permissions(roots.root(), fs::Permissions::from_mode(0o755)).unwrap();
    let open = Said::of(mica.command(["images"]).env("MICA_ROOT", roots.root()).output().unwrap());
    let words = format!("belongs to another user, and this is user {}", mica.user().uid());
    refused(&open, &[&words], "a store of your own");

    mica.run(["images"]);
    let users = Mica::at(mica.root().to_owned());
    let before = mica.contents();
    let words = format!("belongs to user {}, and this is user 0", mica.user().uid());
    refused(&users.try_run(["images"]), &[&words], "become the user");
    assert_eq!(mica.contents(), before);
}

#[test]
fn a_store_that_is_mounted_read_only_is_looked_at_and_not_changed() {
    needs!(root);
    let mica = Mica::new();
    let scratch = Scratch::new();
    fs::create_dir(scratch.path().join("etc")).unwrap();
    mica.run([OsStr::new("import"), OsStr::new("-q"), scratch.path().as_os_str(), OsStr::new("small")]);
    mica.run(["create", "--name", "box", "small", "/x"]);
    let before = mica.contents();
    in_mount_namespace(|| {
        let shown = Mount::clone_of(mica.root(), Reach::One).unwrap();
        shown.set_attrs(&SetAttrs::read_only(), Reach::One).unwrap();
        shown.attach(mica.root()).unwrap();
        for look in [&["images"][..], &["ps", "-a"], &["diff", "box"], &["system", "df"], &["history", "small"]] {
            assert_eq!(mica.run(look).err, "", "{look:?}");
        }
        mica.run(["system", "check"]);
        assert!(mica.run(["system", "info"]).out.contains("Read-only:  its file system is mounted read-only"));
        for change in [
            &["tag", "small", "other"][..],
            &["run", "--rm", "small", "/x"],
            &["create", "small", "/x"],
            &["commit", "box", "y"],
            &["rm", "box"],
            &["mount", "box"],
            &["system", "prune", "-f"],
            &["import", "-q", scratch.path().to_str().unwrap(), "again"],
        ] {
            refused(
                &mica.try_run(change),
                &["the store can only be read: its file system is mounted read-only"],
                "--root",
            );
        }
        // No store was made there before: nothing to look at.
        let empty = scratch.make("empty");
        mount(Path::new("none"), &empty, "tmpfs", MountFlags::RDONLY, "").unwrap();
        refused(&Mica::at(empty).try_run(["images"]), &["open the store", "Read-only file system"], "--root");
    });
    assert_eq!(mica.contents(), before);
}

#[test]
fn a_command_in_the_namespace_is_root_there_and_ends_as_it_ends() {
    needs!(ordinary_user);
    let mica = Mica::of(OrdinaryUser::with_range());
    let (uid, (first, count)) = (mica.user().uid(), mica.user().range());
    let said = unshared(&mica, "id -u; cat /proc/self/uid_map; touch own; chown 5:6 own; exit 7");
    let words: Vec<&str> = said.out.split_whitespace().collect();
    assert_eq!(words.join(" "), format!("0 0 {uid} 1 1 {first} {count}"));
    assert_eq!((said.status, said.err.as_str()), (7, ""));
    let own = fs::metadata(mica.user().home().join("own")).unwrap();
    assert_eq!((own.uid(), own.gid()), (first + 4, first + 5));
    assert_eq!(unshared(&mica, "kill -TERM $$").status, 128 + 15);
    let nobody = mica.try_run(["unshare", "no-such-program-anywhere"]);
    assert_eq!((nobody.status, nobody.err.lines().count()), (127, 1), "{nobody:#?}");
    assert_eq!(mica.try_run(["unshare", "/etc/passwd"]).status, 126);
    let shell = Said::of(mica.command(["unshare"]).env("SHELL", "/bin/pwd").output().unwrap());
    assert_eq!(shell.line(), mica.user().home().display().to_string());
    assert!(!mica.root().exists(), "no store is made for it");
}

#[test]
fn inside_of_the_namespace_mounts_stay_and_nothing_more_is_entered() {
    needs!(ordinary_user, userxattr);
    let mica = Mica::of(OrdinaryUser::with_range());
    mica.run(["import", "-q", small(&mica).to_str().unwrap(), "small"]);
    mica.run(["create", "--name", "box", "small", "/x"]);
    let outside = mica.try_run(["mount", "box"]);
    refused(&outside, &["mount box: what an ordinary user's command mounts ends with the command"], "mica unshare");
    let said = unshared(
        &mica,
        "place=$(mica mount box) && cat $place/etc/motd && echo more > $place/more && mica mount && mica umount box && mica diff box && \
         readlink /proc/self/ns/user && mica unshare readlink /proc/self/ns/user",
    );
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{said:#?}");
    assert_eq!((lines[0], lines[2], lines[3]), ("hello", "box", "A /more"), "{said:#?}");
    assert!(lines[1].starts_with("box /"), "{said:#?}");
    assert_eq!(lines[4], lines[5], "a nested one enters nothing");
    assert_eq!(mica.run(["diff", "box"]).line(), "A /more");
    mica.assert_whole();
}

#[test]
fn a_tree_that_is_mounted_in_another_namespace_is_not_mounted_again() {
    needs!(ordinary_user, userxattr);
    let mica = Mica::of(OrdinaryUser::with_range());
    mica.run(["import", "-q", small(&mica).to_str().unwrap(), "small"]);
    mica.run(["create", "--name", "box", "small", "/x"]);
    let program = mica.user().scratch().path().join("bin/mica");
    let script = format!("{0} mount box && read line && {0} umount box", program.display());
    let mut command = mica.command(["unshare", "sh", "-c", &script]);
    let mut holds = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut place = String::new();
    BufReader::new(holds.stdout.take().unwrap()).read_line(&mut place).unwrap();
    assert!(place.starts_with('/'), "{place:?}");
    let again = unshared(&mica, "mica mount box");
    refused(&again, &["container box is mounted in another mount namespace"], "`mica umount box` there");
    refused(&mica.try_run(["start", "-a", "box"]), &["box is mounted in another"], "mica unshare");
    assert_eq!(mica.run(["diff", "box"]).out, "", "it may be looked at");
    // Standard input closes, and with the shell's end the namespace is gone.
    drop(holds.stdin.take());
    holds.wait().unwrap();
    assert_eq!(unshared(&mica, "mica mount box && mica umount box").status, 0);
}

#[test]
fn what_another_program_entered_is_taken_as_it_is() {
    needs!(ordinary_user);
    let mica = Mica::of(OrdinaryUser::with_range());
    mica.run(["images"]);
    let program = mica.user().scratch().path().join("bin/mica");
    let single = mica.user().home().join("single");
    let at = |flags: &str, root: &Path, command: &str| {
        let script = format!("exec unshare {flags} \"$0\" --root {} {command}", root.display());
        unprivileged(&mica, &script, &program)
    };
    // The same rows, whoever wrote them.
    let (first, count) = mica.user().range();
    let rows = format!("--user --mount --map-root-user --map-users={first},1,{count} --map-groups={first},1,{count}");
    let said = at(&rows, mica.root(), "images");
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    // One row, and the mounts of somebody else: root there, who may not mount.
    for flags in ["-r", "-rm"] {
        let info = at(flags, &single, "system info --format '{{.Owners}} {{range .Drivers}}{{.Works}} {{end}}'");
        assert!(info.out.starts_with("single true") && info.err.is_empty(), "{flags}: {info:#?}");
    }
    refused(&at("-r", mica.root(), "images"), &["mapped owners", "single"], "maps one ID; leave it");
}

#[test]
fn root_of_the_machine_enters_nothing() {
    needs!(root);
    let mica = Mica::new();
    let info = mica.run(["system", "info"]).out;
    assert!(info.contains("Rootless:   no\n") && info.contains("Owners:     native\n"), "{info}");
    assert_eq!((&format_of(mica.root())["marks"], &format_of(mica.root())["idmap"]), (&json!("trusted"), &json!([])));
    refused(&mica.try_run(["unshare", "true"]), &["root of this machine needs no user namespace"], "as it is");
}

#[test]
fn what_is_removed_is_deleted_in_the_background_too() {
    needs!(ordinary_user);
    let mica = Mica::of(OrdinaryUser::with_range());
    // More than goes in the time that a command takes for it, with owners that only a namespace may touch.
    let script = "mkdir -p store/trash/many && cd store/trash/many && seq 5000 | xargs touch && chown -R 7:7 .";
    mica.run(["import", "-q", small(&mica).to_str().unwrap(), "small"]);
    assert_eq!(unshared(&mica, script).status, 0);
    mica.run(["rmi", "small"]);
    let trash = mica.root().join("trash");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while fs::read_dir(&trash).unwrap().count() > 0 {
        assert!(std::time::Instant::now() < until, "the trash is not emptied");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

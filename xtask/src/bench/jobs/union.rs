//! A union that is mounted: what reading, writing and walking it costs, beside the kernel's overlayfs and fuse-overlayfs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Work;
use crate::bench::daemon::Daemon;
use crate::bench::images;
use crate::bench::job::{Entrant, Job, Step};
use crate::bench::line::Line;
use crate::bench::meter::compile;
use crate::bench::results::Role;
use crate::bench::runner;
use crate::bench::session::{Absent, Session};

/// The kernel's switch for rings.
const SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";

/// Makes 20,000 files in 468 MB: 1,000 directories of twenty, every 200th file with 900 KB, the others with 5.5 KB, and one with 268 MB.
const TREE: &str = "mkdir \"$0\"; cd \"$0\"; head -c 900000 /dev/urandom > big; head -c 5500 big > small; d=0
while [ $d -lt 1000 ]; do mkdir -p a$((d / 100))/b$d; f=0
while [ $f -lt 20 ]; do if [ $((d % 10)) = 0 ] && [ $f = 0 ]; then cp big a$((d / 100))/b$d/f$f; else cp small a$((d / 100))/b$d/f$f; fi
f=$((f + 1)); done; d=$((d + 1)); done; rm big small; head -c 268435456 /dev/urandom > one";

/// How many layers are many.
const LAYERS: usize = 128;

/// One who shows a union.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Overlay,
    FuseOverlayfs,
    /// Ours, with options and whether rings are on.
    Ours(&'static str, bool),
}

/// Ours first: what a user gets; then what single parts of it do.
const CONTENDERS: [(&str, Role, Shows); 5] = [
    ("mica", Role::Ours, Shows::Ours("transport=device", false)),
    ("mica, cached", Role::Ours, Shows::Ours("transport=device,passthrough=off", false)),
    ("mica, ring", Role::Ours, Shows::Ours("transport=ring", true)),
    ("overlay", Role::Peer, Shows::Overlay),
    ("fuse-overlayfs", Role::Peer, Shows::FuseOverlayfs),
];

/// A union in a folder of its own.
struct Place {
    folder: PathBuf,
    lowers: Vec<PathBuf>,
    shows: Shows,
    program: Line,
}

impl Place {
    fn new(session: &Session, name: &str, shows: Shows, lowers: Vec<PathBuf>) -> Result<Self> {
        let program = match shows {
            Shows::Overlay => Line::new("mount"),
            Shows::FuseOverlayfs => session.program("fuse-overlayfs", "fuse-overlayfs")?,
            Shows::Ours(..) => Line::new(session.mica_program().with_file_name("mica-fuse")),
        };
        if matches!(shows, Shows::Ours(_, true)) && !Path::new(SWITCH).exists() {
            bail!(Absent("a kernel since 6.14 with FUSE over io_uring".to_owned()));
        }
        Ok(Self { folder: session.folder(&name.replace([',', ' '], ""))?, lowers, shows, program })
    }

    fn at(&self, part: &str) -> PathBuf {
        self.folder.join(part)
    }

    fn mounted(&self) -> PathBuf {
        self.at("merged")
    }

    /// What mounts it, in the background; `front`: what serves it in the foreground.
    fn line(&self, front: bool) -> Line {
        let near = self.near();
        let name = |lower: &PathBuf| {
            near.and_then(|near| lower.strip_prefix(near).ok()).unwrap_or(lower).display().to_string()
        };
        let lowers: Vec<String> = self.lowers.iter().map(name).collect();
        let (upper, work) = (self.at("upper").display().to_string(), self.at("work").display().to_string());
        let mut options = format!("lowerdir={},upperdir={upper},workdir={work}", lowers.join(":"));
        let line = self.program.clone();
        let line = match self.shows {
            Shows::Overlay => line.args(["-t", "overlay", "overlay"]),
            Shows::FuseOverlayfs if front => line.arg("-f"),
            Shows::FuseOverlayfs => line,
            Shows::Ours(more, _) => {
                options = format!("{options},{more}");
                if front { line.arg("-f") } else { line }
            }
        };
        let line = line.arg("-o").arg(options).path(self.mounted());
        match near {
            Some(near) => line.under(Line::shell("cd \"$0\"; exec \"$@\"").path(near)),
            None => line,
        }
    }

    /// Where mount(8) of many lowers stands: their names fit the page of options that mount(2) takes, and their paths do not.
    fn near(&self) -> Option<&Path> {
        let is_long = self.shows == Shows::Overlay && self.lowers.len() > 1;
        self.lowers.first().filter(|_| is_long).and_then(|first| first.parent())
    }

    /// Unmounts it, forgets what was written, and mounts it.
    fn anew(&self) -> Vec<Step> {
        let mut steps = vec![Step::Try(Line::new("umount").path(self.mounted()))];
        steps.extend(["merged", "upper", "work"].map(|part| Step::Empty(self.at(part))));
        let line = self.line(false);
        steps.push(Step::Run(if matches!(self.shows, Shows::Ours(_, true)) {
            let script = format!(
                "was=$(cat {SWITCH}); echo Y > {SWITCH}; \"$0\" \"$@\" || failed=1; echo $was > {SWITCH}; [ ! $failed ]"
            );
            line.under(Line::shell(script))
        } else {
            line
        }));
        steps
    }

    fn end(&self) -> Step {
        Step::Try(Line::new("umount").path(self.mounted()))
    }
}

/// When a union is mounted anew.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Once, before the first run.
    Once,
    /// Before each run, over an empty upper.
    Always,
}

/// What is done in a union.
struct Task {
    what: &'static str,
    fair: &'static str,
    when: When,
    /// Made in the union before each run.
    before: &'static str,
    /// A script; `$M` is the union, `$F` the helper.
    script: &'static str,
    rounds: fn(&Session) -> usize,
    warm_ups: usize,
}

/// The tree, made once.
fn tree(session: &Session) -> Result<PathBuf> {
    let made = session.home.join("union-tree");
    if !made.is_dir() {
        let unfinished = session.home.join("union-tree.new");
        runner::remove(&unfinished)?;
        Line::shell(TREE).path(&unfinished).run()?;
        std::fs::rename(&unfinished, &made).with_context(|| format!("cannot make {}", made.display()))?;
    }
    Ok(made)
}

/// The tree's small files in so many layers, each with its part of every directory.
fn split(session: &Session) -> Result<Vec<PathBuf>> {
    let (tree, made) = (tree(session)?, session.home.join("layers"));
    if !made.is_dir() {
        let unfinished = session.home.join("layers.new");
        runner::empty(&unfinished)?;
        let layers = unfinished.display();
        let script = format!(
            "cd {}; find . -type f -size -100k | awk '{{ print > (\"{layers}/list-\" NR % {LAYERS}) }}'; \
             for list in {layers}/list-*; do layer={layers}/${{list##*-}}; mkdir $layer; \
             tar -cf - --no-recursion -T $list | tar -C $layer -xf -; rm $list; done",
            tree.display()
        );
        Line::shell(script).run()?;
        std::fs::rename(&unfinished, &made).with_context(|| format!("cannot make {}", made.display()))?;
    }
    Ok((0..LAYERS).map(|number| made.join(number.to_string())).collect())
}

fn job(session: &Session, task: &Task) -> Result<Job> {
    let (tree, helper) = (tree(session)?, helper(session)?);
    let entrants = CONTENDERS.map(|(name, role, shows)| {
        let work = Place::new(session, name, shows, vec![tree.clone()]).and_then(|place| work(&place, task, &helper));
        Entrant::of(name, role, work)
    });
    Ok(Job {
        what: task.what.to_owned(),
        fair: format!(
            "The tree has 20,000 files in 1,000 directories and 468 MB, all in memory; each union has it as its one lower. {}",
            task.fair
        ),
        rounds: (task.rounds)(session),
        warm_ups: task.warm_ups,
        contenders: entrants.into(),
        ..Job::default()
    })
}

fn helper(session: &Session) -> Result<PathBuf> {
    compile(&session.home.join("tools"), "files", include_str!("../files.c"))
}

fn work(place: &Place, task: &Task, helper: &Path) -> Result<Work> {
    let within = |script: &str| Line::shell(script).env("M", place.mounted()).env("F", helper);
    let mut work = Work { line: within(task.script), ..Work::default() };
    if task.when == When::Once {
        runner::all(&place.anew())?;
    } else {
        work.reset = place.anew();
        work.after = vec![place.end()];
    }
    if !task.before.is_empty() {
        work.reset.push(Step::Run(within(task.before)));
    }
    Ok(work)
}

const FIND: &str = "for i in 1 2 3 4 5; do find $M > /dev/null; done";
const FIRST: &str = "find $M -size +1 -newer $M/a0 > /dev/null";
const STAT: &str = "for i in 1 2 3; do find $M -size +1 -newer $M/a0 > /dev/null; done";

pub(super) fn find(session: &Session) -> Result<Job> {
    let task = Task {
        what: "Walk the tree five times.",
        fair: "It was walked before.",
        when: When::Once,
        before: "",
        script: FIND,
        rounds: Session::fast_rounds,
        warm_ups: 2,
    };
    job(session, &task)
}

pub(super) fn stat(session: &Session) -> Result<Job> {
    let task = Task {
        what: "Walk the tree three times and look at what every file is.",
        fair: "It was walked before.",
        when: When::Once,
        before: "",
        script: STAT,
        rounds: Session::fast_rounds,
        warm_ups: 2,
    };
    job(session, &task)
}

pub(super) fn first(session: &Session) -> Result<Job> {
    let task = Task {
        what: "Walk the tree and look at what every file is, right after the mount.",
        fair: "The lower itself was walked before, so that nobody waits for the disk. With an index: the tree is a layer of a store, and mounted as a \
               container's.",
        when: When::Always,
        before: "",
        script: FIRST,
        rounds: Session::fast_rounds,
        warm_ups: 1,
    };
    let mut job = job(session, &task)?;
    let tree = tree(session)?;
    let import = |mica: Line, folder: &Path| {
        let archive = folder.join("tree.tar");
        Line::new("tar").arg("-C").path(&tree).args(["--exclude=./one", "-cf"]).path(&archive).arg(".").run()?;
        mica.arg("import").path(&archive).arg("bench/tree").run()?;
        Ok("bench/tree")
    };
    let work = indexed(session, "indexed", FIRST, import);
    job.contenders.insert(0, Entrant::of("mica, index", Role::Ours, work));
    Ok(job)
}

/// A container over layers that a store has, which have indexes: those of the image that `image` puts there and names.
fn indexed(
    session: &Session,
    name: &str,
    script: &str,
    image: impl FnOnce(Line, &Path) -> Result<&'static str>,
) -> Result<Work> {
    let folder = session.folder(name)?;
    let (mica, place) = (session.mica(&folder), folder.join("place"));
    let image = image(mica.clone(), &folder)?;
    mica.clone().args(["create", "--driver", "fuse", "--name", "tree", image, "true"]).run()?;
    let mount = format!("\"$0\" \"$@\" > {}", place.display());
    let unmounted = Step::Try(mica.clone().args(["umount", "tree"]));
    let mounted = Step::Run(mica.args(["mount", "tree"]).under(Line::shell(mount)));
    let line = Line::shell(format!("M=$(cat {}); {script}", place.display()));
    Ok(Work { reset: vec![unmounted.clone(), mounted], line, after: vec![unmounted], ..Work::default() })
}

pub(super) fn archive(session: &Session) -> Result<Job> {
    let task = Task {
        what: "Read 19,900 small files into an archive that nobody keeps.",
        fair: "They were read before.",
        when: When::Once,
        before: "",
        script: "tar -C $M --exclude=one -cf - a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 | cat > /dev/null",
        rounds: Session::fast_rounds,
        warm_ups: 1,
    };
    job(session, &task)
}

pub(super) fn open(session: &Session) -> Result<Job> {
    let task = Task {
        what: "Open and close a file 20,000 times.",
        fair: "",
        when: When::Once,
        before: "",
        script: "$F open $M/a0/b1/f1 20000",
        rounds: Session::fast_rounds,
        warm_ups: 1,
    };
    job(session, &task)
}

pub(super) fn read(session: &Session) -> Result<Job> {
    let task = Task {
        what: "Read a file of 268 MB from its beginning to its end three times.",
        fair: "It was read before.",
        when: When::Once,
        before: "",
        script: "for i in 1 2 3; do $F read $M/one; done",
        rounds: Session::fast_rounds,
        warm_ups: 1,
    };
    job(session, &task)
}

pub(super) fn read_first(session: &Session) -> Result<Job> {
    let task = Task {
        what: "Read a file of 268 MB from its beginning to its end, the first time since the mount.",
        fair: "The lower is in memory.",
        when: When::Always,
        before: "",
        script: "$F read $M/one",
        rounds: Session::fast_rounds,
        warm_ups: 1,
    };
    job(session, &task)
}

pub(super) fn pread(session: &Session) -> Result<Job> {
    let task = Task {
        what: "Read 4 KiB at 200,000 places of a file of 268 MB.",
        fair: "It was read before.",
        when: When::Once,
        before: "",
        script: "$F pread $M/one 200000",
        rounds: Session::fast_rounds,
        warm_ups: 2,
    };
    job(session, &task)
}

pub(super) fn write(session: &Session) -> Result<Job> {
    let task = Task {
        what: "Write a new file of 256 MiB.",
        fair: "It is written to memory: nobody syncs.",
        when: When::Always,
        before: "sync",
        script: "$F write $M/new 256",
        rounds: Session::fast_rounds,
        warm_ups: 1,
    };
    job(session, &task)
}

pub(super) fn create(session: &Session) -> Result<Job> {
    let task = Task {
        what: "Make 5,000 files of 1 KiB in one directory, then remove them.",
        fair: "",
        when: When::Always,
        before: "mkdir $M/new",
        script: "$F create $M/new 5000",
        rounds: Session::fast_rounds,
        warm_ups: 1,
    };
    job(session, &task)
}

pub(super) fn copy(session: &Session) -> Result<Job> {
    let task = Task {
        what: "cp -r of 4,000 files within the union.",
        fair: "They were read before.",
        when: When::Always,
        before: "tar -C $M -cf - a0 a1 | cat > /dev/null; sync",
        script: "mkdir $M/copy; cp -r $M/a0 $M/a1 $M/copy",
        rounds: Session::slow_rounds,
        warm_ups: 1,
    };
    job(session, &task)
}

pub(super) fn remove(session: &Session) -> Result<Job> {
    let task = Task {
        what: "rm -r of 4,000 files of the lower.",
        fair: "They were walked before.",
        when: When::Always,
        before: "find $M -size +1 > /dev/null; sync",
        script: "rm -r $M/a0 $M/a1",
        rounds: Session::slow_rounds,
        warm_ups: 1,
    };
    job(session, &task)
}

pub(super) fn chmod(session: &Session) -> Result<Job> {
    let task = Task {
        what: "chmod -R of 4,000 files of the lower.",
        fair: "They were walked before. overlayfs copies contents, as it does where nobody turns metacopy on.",
        when: When::Always,
        before: "find $M -size +1 > /dev/null; sync",
        script: "chmod -R go-r $M/a0 $M/a1",
        rounds: Session::slow_rounds,
        warm_ups: 1,
    };
    job(session, &task)
}

/// The same files in one layer and in many.
pub(super) fn layers(session: &Session) -> Result<Job> {
    let (many, helper) = (split(session)?, helper(session)?);
    let one = session.home.join("union-layer");
    if !one.is_dir() {
        let script = format!(
            "mkdir \"$0\"; for layer in {}/*; do cp -a $layer/. \"$0\"; done",
            session.home.join("layers").display()
        );
        Line::shell(script).path(&one).run()?;
    }
    let task = Task {
        what: "Walk 19,900 files and look at what every file is, right after the mount and once more, in one layer and in 128.",
        fair: "",
        when: When::Always,
        before: "",
        script: "for i in 1 2; do find $M -size +1 -newer $M/a0 > /dev/null; done",
        rounds: Session::fast_rounds,
        warm_ups: 1,
    };
    let mut contenders = Vec::new();
    for (name, role, shows) in CONTENDERS.into_iter().filter(|(_, _, shows)| !matches!(shows, Shows::Ours(_, true))) {
        for (count, lowers) in [("1", vec![one.clone()]), ("128", many.clone())] {
            let name = format!("{name}, {count}");
            let place = Place::new(session, &name, shows, lowers);
            contenders.push(Entrant::of(&name, role, place.and_then(|place| work(&place, &task, &helper))));
        }
    }
    for (count, lowers) in [("1", vec![one]), ("128", many)] {
        let load = |mica: Line, _: &Path| {
            let lowest_first: Vec<PathBuf> = lowers.into_iter().rev().collect();
            let image = images::of_directories(session, &format!("union-{count}"), &lowest_first)?;
            mica.args(["load", "-q", "-i"]).path(image.docker()).run()?;
            Ok(images::NAME)
        };
        let work = indexed(session, &format!("indexed{count}"), task.script, load);
        contenders.push(Entrant::of(&format!("mica, index, {count}"), Role::Ours, work));
    }
    Ok(Job {
        what: task.what.to_owned(),
        fair: "Every directory has its twenty files in twenty of the layers. With an index: the layers are a store's, and mounted as a container's."
            .to_owned(),
        rounds: (task.rounds)(session),
        warm_ups: task.warm_ups,
        contenders,
        ..Job::default()
    })
}

/// Half a million files: 5,000 directories with 100 each.
const MANY: &str = "mkdir -p $0 && cd $0 && for d in $(seq 0 4999); do \
                    mkdir a$d && printf x | (cd a$d && tee $(seq -f file-%05g 100) > /dev/null) || exit; done";

/// That tree, made once.
fn many(session: &Session) -> Result<PathBuf> {
    let made = session.home.join("union-many");
    if !made.is_dir() {
        let unfinished = session.home.join("union-many.new");
        runner::remove(&unfinished)?;
        Line::shell(MANY).path(&unfinished).run()?;
        std::fs::rename(&unfinished, &made).with_context(|| format!("cannot make {}", made.display()))?;
    }
    Ok(made)
}

/// What a server holds for a tree of which every file was looked at.
pub(super) fn memory(session: &Session) -> Result<Job> {
    let tree = many(session)?;
    let contenders =
        CONTENDERS.into_iter().filter(|(_, _, shows)| !matches!(shows, Shows::Overlay | Shows::Ours(_, true)));
    let contenders = contenders.map(|(name, role, shows)| {
        let served = || -> Result<Work> {
            let place = Place::new(session, name, shows, vec![tree.clone()])?;
            for part in ["merged", "upper", "work"] {
                runner::empty(&place.at(part))?;
            }
            let answers = Line::new("stat").path(place.mounted().join("a1"));
            let daemon = Daemon::start(&place.line(true), &place.at("log"), &answers)?;
            let line = Line::shell("find $M -size +1 -newer $M/a0 > /dev/null").env("M", place.mounted());
            Ok(Work { line, daemon: Some(daemon), ..Work::default() })
        };
        Entrant::of(name, role, served())
    });
    Ok(Job {
        what: "Memory of the server of a tree of 505,000 entries, each of which was looked at.".to_owned(),
        fair: "The most that the server had at once. The tree has 5,000 directories with 100 files of one byte each."
            .to_owned(),
        rounds: 1,
        contenders: contenders.collect(),
        ..Job::default()
    })
}

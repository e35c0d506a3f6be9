//! Another process: this very test program, started again to do one thing.
//!
//! What a store promises to other processes, and to those that come after a kill, only processes can show. The child
//! is the test [`child`], which does nothing unless its environment tells it what.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use mica_core::DiffId;
use mica_store::{ContainerName, Lifetime, OnUse, Store, StoreError, StoreOptions};
use mica_sys::fault;

use crate::common::{self, Image, NAME, Place};

const WHAT: &str = "MICA_STORE_TEST_CHILD";
const PLACE: &str = "MICA_STORE_TEST_PLACE";
const PLAN: &str = "MICA_STORE_TEST_PLAN";

/// How a child ended.
#[derive(Debug)]
pub enum End {
    Done(String),
    Failed(String),
    Killed,
}

/// Starts a child that does `what` with the store of `place`, under a fault plan.
pub fn start(place: &Path, what: &str, plan: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child::child", "--nocapture", "--test-threads=1"]);
    command.env(WHAT, what).env(PLACE, place).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(plan) = plan {
        command.env(PLAN, plan);
    }
    command.spawn().unwrap()
}

pub fn end(child: Child) -> End {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    match status.code() {
        Some(0) => End::Done(text(stdout)),
        Some(_) => End::Failed(text(stderr)),
        None => End::Killed,
    }
}

pub fn run(place: &Place, what: &str, plan: Option<&str>) -> End {
    end(start(place.path(), what, plan))
}

#[test]
fn child() {
    let Ok(what) = std::env::var(WHAT) else { return };
    let place = std::env::var(PLACE).unwrap();
    if let Ok(plan) = std::env::var(PLAN) {
        fault::arm(plan.parse().unwrap());
    }
    let place = Path::new(&place);
    if let Err(error) = act(place, &what) {
        panic!("full={} {error} {error:?}", error.is_no_space());
    }
    if std::env::var(PLAN).is_ok_and(|plan| plan == "trace") {
        for (call, subject) in fault::trace() {
            println!("TRACE {call} {}", String::from_utf8_lossy(&subject));
        }
    }
}

/// What a child can do. `prepare` in `crash.rs` makes the store in which each makes sense.
pub fn act(place: &Path, what: &str) -> Result<(), StoreError> {
    let open = || Store::open(&StoreOptions::new(place.join("root"), place.join("run")));
    let (image, id) = (Image::small(), mica_store::ContainerId::parse(&"a".repeat(64)).unwrap());
    match what {
        "open" => open().map(drop),
        "load" => common::try_load(&open()?, &image, Some(NAME)),
        "load-slowly" => load_slowly(&open()?, place, &image),
        "load-and-gc" => load_and_gc(&open()?, place),
        "lowers" => open()?.lowers(&image.diff_ids()).map(drop),
        "create" => common::create(&open()?, &image, "box", 'a'),
        "create-volatile" => {
            let store = open()?;
            let new = common::container_of(&store, &image, "box", 'a')?;
            let lease = store.lease()?;
            store.create_container(&lease, mica_store::NewContainer { lifetime: Lifetime::Volatile, ..new })?;
            lease.finish();
            Ok(())
        }
        "rename" => {
            let store = open()?;
            let lease = store.lease()?;
            let mut locked = store.lock_container(&id)?;
            store.rename_container(&lease, &mut locked, ContainerName::new("other")?)?;
            lease.finish();
            Ok(())
        }
        "remove" => {
            let store = open()?;
            store.remove_container(store.lock_container(&id)?)
        }
        "rmi" => common::remove(&open()?, &image, OnUse::Refuse),
        "gc" => open()?.gc().map(drop),
        "reap" => open()?.reap(Duration::from_secs(60)).map(drop),
        "create-any" => create_any(&open()?, place, &image),
        "create-and-remove" => create_and_remove(&open()?, place),
        "rmi-and-load" => rmi_and_load(&open()?, place),
        other => panic!("unknown child {other:?}"),
    }
}

/// Waits until the parent says go, so that all children begin at once.
fn wait_for_go(place: &Path) {
    let until = Instant::now() + Duration::from_secs(30);
    while !place.join("go").exists() {
        assert!(Instant::now() < until, "nobody said go");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn stopped(place: &Path) -> bool {
    place.join("stop").exists()
}

/// Loads, notes each layer that it unpacks, and takes its time over each.
fn load_slowly(store: &Store, place: &Path, image: &Image) -> Result<(), StoreError> {
    wait_for_go(place);
    common::load_through(store, image, Some(NAME), &|layer| {
        let line = format!("{layer}\n");
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(place.join("unpacked")).unwrap();
        std::io::Write::write_all(&mut log, line.as_bytes()).unwrap();
        let tar = image.layers.iter().find(|tar| DiffId::of(tar) == *layer).unwrap().clone();
        Box::new(Slowly { tar: std::io::Cursor::new(tar), slept: false })
    })
}

struct Slowly {
    tar: std::io::Cursor<Vec<u8>>,
    slept: bool,
}

impl Read for Slowly {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if !self.slept {
            std::thread::sleep(Duration::from_millis(150));
            self.slept = true;
        }
        self.tar.read(buffer)
    }
}

/// Loads and removes images of its own while others do the same and collect.
fn load_and_gc(store: &Store, place: &Path) -> Result<(), StoreError> {
    wait_for_go(place);
    for round in 0..12 {
        let image = Image::salted(&(round % 3).to_string());
        common::load_through(store, &image, None, &|layer| {
            let tar = image.layers.iter().find(|tar| DiffId::of(tar) == *layer).unwrap().clone();
            Box::new(std::io::Cursor::new(tar))
        })?;
        match store.remove_image(&image.id(), OnUse::Remove) {
            // Another process loads the same images and removed it first.
            Err(StoreError::NotFound { .. }) => {}
            removed => removed?,
        }
        store.gc()?;
        store.reap(Duration::from_secs(1))?;
    }
    Ok(())
}

/// Tries to have the one name.
fn create_any(store: &Store, place: &Path, image: &Image) -> Result<(), StoreError> {
    let mut new = common::container_of(store, image, "box", 'a')?;
    new.id = None;
    wait_for_go(place);
    let lease = store.lease()?;
    match store.create_container(&lease, new) {
        Ok(container) => {
            println!("WON {}", container.id());
            lease.finish();
            Ok(())
        }
        Err(StoreError::NameTaken { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// How many collections there were in this place: a byte each.
fn collections(place: &Path) -> u64 {
    std::fs::metadata(place.join("collections")).map_or(0, |metadata| metadata.len())
}

/// Waits until a collection has begun and ended.
fn wait_for_collection(place: &Path) {
    let until = Instant::now() + Duration::from_secs(120);
    // The next to end may have begun before.
    let wanted = collections(place) + 2;
    while collections(place) < wanted {
        assert!(Instant::now() < until, "nobody collects");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Makes containers of an image that comes and goes; each that was made must have its layers at once and for ever: every
/// fourth is looked at again after a removal of the image and a collection, the others go at once.
fn create_and_remove(store: &Store, place: &Path) -> Result<(), StoreError> {
    let image = Image::small();
    wait_for_go(place);
    let mut made = 0;
    while made < 40 {
        let Ok(mut new) = common::container_of(store, &image, &format!("box-{}-{made}", std::process::id()), 'a')
        else {
            continue;
        };
        new.id = None;
        let lease = store.lease()?;
        match store.create_container(&lease, new) {
            Ok(container) => {
                lease.finish();
                if made % 4 == 3 {
                    wait_for_collection(place);
                }
                for layer in image.diff_ids() {
                    store.require_layer(&layer)?;
                }
                store.remove_container(store.lock_container(container.id())?)?;
                made += 1;
            }
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes an image, collects, and loads it again, until it is stopped.
fn rmi_and_load(store: &Store, place: &Path) -> Result<(), StoreError> {
    let image = Image::small();
    wait_for_go(place);
    while !stopped(place) {
        common::remove(store, &image, OnUse::Remove)?;
        store.gc()?;
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(place.join("collections")).unwrap();
        std::io::Write::write_all(&mut log, b".").unwrap();
        store.reap(Duration::from_secs(1))?;
        common::try_load(store, &image, Some(NAME))?;
    }
    Ok(())
}

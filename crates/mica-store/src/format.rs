//! Store format 1: every byte on disk, and the order in which it gets there.
//!
//! This module is text. It changes in the same commit as what it describes, and every type that is written to disk
//! links here.
//!
//! # The root
//!
//! ```text
//! format.json                            FormatRecord: what kind of store this is. Written last when a store is made
//! locks/gc                               flock: shared to write a lease, exclusive to decide what nobody keeps
//! locks/reaper                           flock: who empties the trash
//! locks/digests/<hex>                    flock: who makes the layer with this DiffID, or what belongs on the chain
//! locks/names/<hex>                      flock: who sets or removes this name
//! locks/containers/<id>                  flock: who changes this container
//! leases/<32 hex>                        flocked by a running operation: what gc must keep, one JSON line a thing
//! staging/<32 hex>/                      what the operation with that lease is making
//! trash/<32 hex>                         what is to be deleted
//! blobs/sha256/<hex>                     exact bytes of an index, a manifest, a config, an artifact, a kept layer
//! facts/sha256/<hex>.json                Facts: what was learned of a blob. May be deleted at any time
//! layers/sha256/<hex of the DiffID>/
//!     diff/                              the changeset, as the kernel's overlayfs wants a lower
//!     index                              mica_layer::Index
//!     recon                              what diff/ cannot hold of the tar
//!     seal.json                          Seal. Without it the layer does not exist
//! chains/sha256/<hex of the ChainID>/
//!     chain.json                         ChainRecord: whether the chain needs fix/
//!     fix/                               one more lower on top of the chain
//! images/sha256/<hex of the image ID>.json   ImageRecord
//! names/<hex of SHA-256 of the reference>.json   NameRecord
//! container-names/<name>                 symlink whose target is a container ID: the claim on a container's name
//! containers/<64 hex>/
//!     config.json                        ContainerRecord. Its `name` is the truth; a claim only makes it unique
//!     state.json                         ContainerState. Absent until something happened to the container
//!     upper/ work/                       overlayfs' directories; upper/ starts with the attributes of the chain's root
//!     views/<n>/{upper,work}/            the same for each further file system of a `try`
//!     owner                              flocked by the command that removes it at its end, from before it is here; free: that command was killed
//! volatile/<boot id>/<64 hex>/           a container that does not outlive the machine's uptime (`--rm`): as containers/
//! run/                                   the run root of a user for whom the machine keeps none; nothing in it outlives a boot
//! volumes/ build/                        reserved
//! ```
//!
//! Everything is the store owner's, and every directory of the root is 0700, as is the root itself: what a container
//! holds (a setuid program, a world-readable secret) must not be reached by other users of the machine, which Docker
//! learned as CVE-2021-41091. A driver reaches lowers with its own rights, so nobody else needs to.
//!
//! Names of the root that are not listed are left alone.
//!
//! # Records
//!
//! A record is a JSON object with `"version": 1`. A reader keeps the fields that it does not know and writes them back.
//! A version above 1 is refused ([`StoreError::NewerFormat`](crate::StoreError::NewerFormat)): whoever changes the
//! meaning of a field raises the version; whoever adds a field does not. Digests are `sha256:<hex>`, moments are
//! RFC 3339 in UTC. Records are at most 16 MiB.
//!
//! ## format.json
//!
//! `format` is 1; a store with a higher number is not opened. `features.incompat` names what a program must know to open the store
//! at all, `features.ro_compat` what it must know to change it, `features.compat` what it may ignore (as ext4 has it).
//! Format 1 defines no feature of any kind. `marks` says whose extended attributes the layers' overlay marks are
//! (`trusted` or `user`); `owners` how owners of a layer stand on disk: `native` as they are, `mapped` through `idmap` and `gidmap`, `single` all
//! as the store's owner. `idmap` has the rows of users and `gidmap` those of groups (`container`, `host`, `size`, as `/proc/self/uid_map` and
//! `gid_map` of whoever made the store had them); both are empty, and `gidmap` is left out, for `native`. What of a layer cannot be put on disk so
//! has a stand-in there (`mica_layer::stand_in`). A program that would write with
//! other marks, owners or rows is refused, and so is one with another user ID than the owner of the root.
//!
//! ## seal.json
//!
//! `diff_id`, `tar_size` (bytes of the tar), `content_size` (bytes of file content in diff/), `entries`, `implicit` and
//! `needs_parent` (how many entries have that flag), and `index` and `recon` with `digest` and `size` each.
//!
//! # Birth
//!
//! 1. An operation makes its lease: under `locks/gc` shared it creates and flocks `leases/<id>`. It writes what it
//!    needs into it under the same lock, then looks whether it is there. From then on gc leaves it.
//! 2. It makes everything under `staging/<id>/`: layers, blobs, records. Digests are checked here.
//! 3. One `syncfs`, error-checked, for all that stands in one batch. Never one flush a file.
//! 4. Each layer's `seal.json` is written and flushed, and its directory. So sealed means synced.
//! 5. Each blob, then each layer, is renamed into place with `RENAME_NOREPLACE`; one that is already there is the same,
//!    since the name is its digest. Each directory that received one is flushed. Blobs come first, since whoever finds
//!    a layer made does not read its tar again and could not keep the blob that it came as.
//! 6. The image record, then the name: each written in staging, flushed, renamed over, its directory flushed.
//! 7. The lease's file and staging directory are removed.
//!
//! A power cut before 5 leaves only staging; between 5 and 6 layers that no image names, which gc collects; after it
//! the whole image. An operation that fails drops its staging and sends to the trash what it had put in place and
//! nobody else keeps; one that is killed leaves that to the next `open` (staging) and `gc` (layers).
//!
//! # Locks
//!
//! All are flocks on files, released by the kernel with the process. Whoever locks a file looks whether the name
//! still leads to it, so lock files can be removed by their holder. The order in which one process takes them:
//! a container's or a name's, then a digest's, then `gc`. In particular:
//!
//! * `locks/gc` is held shared for the instant of writing a lease, and exclusively for the instant of marking and renaming
//!   to trash. Nobody waits for anything else while holding it.
//! * A digest lock is held while the layer is unpacked, by design: a second process that wants the layer waits for it
//!   and finds it made. Nobody waits for a digest lock while holding one, so there is no circle: a batch
//!   *tries* all its layers' locks, stages and seals those it got, lets go of them, and only then waits for the others
//!   one at a time, each time looking whether the layer is made and otherwise making it itself.
//! * A container's lock is held while its record is changed, and from before its name is claimed until it stands
//!   in containers/. A claim whose container is not there, or has another name, and whose lock is free is a leftover
//!   and is replaced.
//!
//! # Death
//!
//! Removal is a rename into trash/, where nothing is ever read. A container goes with its upper in one rename, and its claim
//! afterwards. An image's removal takes its names and its record; layers, blobs and chains that nobody keeps are found by gc, which
//! keeps what image records, names (through indexes and manifests, as far as they are here), containers and leases
//! reach. Facts are kept while the blob or the layer that they speak of is here. The reaper deletes under `locks/reaper`, outside of every other
//! lock; if it dies the next one goes on.
//!
//! # Recovery
//!
//! There is no journal. At `open`, if staging/ or leases/ is not empty and gc's lock is free, what no living process
//! holds goes to the trash, and so does volatile/ of earlier boots. Containers in volatile/ are never flushed: after a
//! power cut they are not looked at, since the boot ID has changed. `state.json` is not always flushed either: one that cannot be read says that
//! the machine went down, and so that nothing runs.

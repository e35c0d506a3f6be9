//! What stands in the images that are made up: the same bytes on every machine.

use std::path::Path;

use anyhow::{Context, Result};

use super::tarball::Tarball;

/// Numbers that look random and are always the same (xorshift64*).
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// A number from `low` up to and without `high`.
    pub(super) fn between(&mut self, low: usize, high: usize) -> usize {
        let range = u64::try_from(high - low).unwrap_or(1).max(1);
        low + usize::try_from(self.next() % range).unwrap_or(0)
    }
}

/// So many files of an npm tree, in packages of about sixteen: most are small, a few are bundles. Together some 750 MB,
/// of a text that compresses as JavaScript does.
pub(super) fn npm_tree(tar: &mut Tarball, files: usize) -> Result<()> {
    let mut dice = Dice::new(19_000);
    let pool = text(&mut dice, 48 << 20);
    let content = |dice: &mut Dice| {
        let length = match dice.between(0, 100) {
            0..70 => dice.between(200, 4_000),
            70..95 => dice.between(4_000, 40_000),
            _ => dice.between(100_000, 1_200_000),
        };
        let from = dice.between(0, pool.len() - length);
        pool.get(from..from + length).unwrap_or_default()
    };
    tar.directory("srv/app")?;
    tar.directory("srv/app/node_modules")?;
    let mut made = 0;
    for package in 0.. {
        let home = format!("srv/app/node_modules/{}-{package}", WORDS.get(package % WORDS.len()).unwrap_or(&""));
        tar.directory(&home)?;
        for folder in ["lib", "dist"] {
            tar.directory(&format!("{home}/{folder}"))?;
        }
        let modules = dice.between(4, 20);
        let fixed = ["package.json", "README.md", "LICENSE", "index.js"].map(str::to_owned);
        let more = (0..modules).map(|module| match module % 3 {
            0 => format!("lib/module{module}.js"),
            1 => format!("dist/module{module}.d.ts"),
            _ => format!("dist/module{module}.js.map"),
        });
        for name in fixed.into_iter().chain(more) {
            if made == files {
                return Ok(());
            }
            tar.file(&format!("{home}/{name}"), 0o644, content(&mut dice))?;
            made += 1;
        }
    }
    Ok(())
}

/// Words that are in every JavaScript file.
const WORDS: [&str; 48] = [
    "const",
    "function",
    "return",
    "exports",
    "module",
    "require",
    "options",
    "callback",
    "error",
    "value",
    "object",
    "string",
    "number",
    "undefined",
    "prototype",
    "length",
    "stream",
    "buffer",
    "promise",
    "async",
    "await",
    "default",
    "import",
    "export",
    "extends",
    "class",
    "static",
    "typeof",
    "instanceof",
    "process",
    "config",
    "context",
    "handler",
    "request",
    "response",
    "emitter",
    "listener",
    "index",
    "parse",
    "format",
    "version",
    "license",
    "author",
    "path",
    "resolve",
    "reject",
    "throw",
    "yield",
];

/// Lines of such words, and of names that nobody else uses.
fn text(dice: &mut Dice, length: usize) -> Vec<u8> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz012345";
    let mut text = Vec::with_capacity(length + 64);
    while text.len() < length {
        match dice.between(0, 10) {
            0..4 => text.extend_from_slice(WORDS.get(dice.between(0, WORDS.len())).unwrap_or(&"").as_bytes()),
            4..6 => {
                let mut bits = dice.next();
                for _ in 0..dice.between(3, 8) {
                    text.extend(LETTERS.get(usize::try_from(bits % 32).unwrap_or(0)));
                    bits /= 32;
                }
            }
            6 => text.extend_from_slice(b" = "),
            7 => text.extend_from_slice(b"("),
            8 => text.extend_from_slice(b");\n  "),
            _ => text.extend_from_slice(b", "),
        }
    }
    text
}

/// A layer of so many entries: empty files, a thousand in a folder. The lowest has a shell and its tools as well.
pub(super) fn flat_tree(to: &Path, entries: u64, number: u64) -> Result<()> {
    let mut tar = Tarball::create(to)?;
    if number == 0 {
        let busybox =
            std::fs::read("/bin/busybox").context("/bin/busybox is missing: apt-get install busybox-static")?;
        tar.directory("bin")?;
        tar.file("bin/busybox", 0o755, &busybox)?;
        for tool in ["sh", "true"] {
            tar.link(&format!("bin/{tool}"), "bin/busybox")?;
        }
        for folder in ["dev", "etc", "proc", "srv", "sys", "tmp"] {
            tar.directory(folder)?;
        }
    }
    tar.directory("data")?;
    tar.directory(&format!("data/{number}"))?;
    for entry in 0..entries {
        if entry % 1000 == 0 {
            tar.directory(&format!("data/{number}/{}", entry / 1000))?;
        }
        tar.file(&format!("data/{number}/{}/{entry}", entry / 1000), 0o644, b"")?;
    }
    tar.close()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::images::digest;

    #[test]
    fn the_same_tree_is_made_every_time() {
        let dir = tempfile::tempdir().unwrap();
        let made = |name: &str| {
            let file = dir.path().join(name);
            let mut tar = Tarball::create(&file).unwrap();
            npm_tree(&mut tar, 100).unwrap();
            tar.close().unwrap();
            let count = super::super::tarball::entries(&std::fs::read(&file).unwrap()).len();
            assert!(count > 100 && count < 150, "{count}");
            digest(&file).unwrap()
        };
        assert_eq!(made("a"), made("b"));
    }
}

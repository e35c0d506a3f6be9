//! Man pages and completions, made from the command line and from the table of mount options.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::{Man, roff};
use roff::{Roff, bold, roman};

use crate::args;
use crate::options::GROUPS;

/// Writes `man/` and `completions/` into a directory.
pub(crate) fn all(directory: &Path) -> io::Result<()> {
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    fs::write(man.join("mica-fuse.1"), page(args::fuse_command(), "1")?)?;
    fs::write(man.join("mount.fuse.mica.8"), page(args::helper_command(), "8")?)?;
    for (shell, name) in [(Shell::Bash, "mica-fuse.bash"), (Shell::Zsh, "_mica-fuse"), (Shell::Fish, "mica-fuse.fish")]
    {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut args::fuse_command(), "mica-fuse", &mut script);
        fs::write(completions.join(name), script)?;
    }
    Ok(())
}

/// One page. The options of mounts have a section of their own in place of the long help's text.
fn page(command: Command, section: &str) -> io::Result<Vec<u8>> {
    let is_helper = command.get_name() != "mica-fuse";
    let man = Man::new(command.after_help(None::<&str>).after_long_help(None::<&str>)).section(section);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut rest = Roff::new();
    if is_helper {
        rest.control("SH", ["MOUNT OPTIONS"]);
        rest.text([roman("Those of mica-fuse(1). A line of fstab(5):")]);
        verbatim(&mut rest, FSTAB);
    } else {
        mount_options(&mut rest);
    }
    rest.control("SH", ["EXIT STATUS"]);
    rest.text([roman(args::EXIT_STATUS.trim_start_matches("Exit status: "))]);
    if !is_helper {
        rest.control("SH", ["EXAMPLES"]);
        verbatim(&mut rest, args::EXAMPLES.split_once('\n').map_or("", |(_, examples)| examples));
    }
    rest.control("SH", ["SEE ALSO"]);
    let others = if is_helper {
        "mica-fuse(1), mount(8), fstab(5)"
    } else {
        "mount.fuse.mica(8), mount(8), fusermount3(1), storage.conf(5)"
    };
    rest.text([roman(others)]);
    rest.to_writer(&mut page)?;
    Ok(page)
}

/// A line of fstab(5).
const FSTAB: &str = "tree  /mnt  fuse.mica  lowerdir=/srv/base,upperdir=/srv/mine,workdir=/srv/work,nofail  0 0";

fn mount_options(page: &mut Roff) {
    page.control("SH", ["MOUNT OPTIONS"]);
    for group in GROUPS {
        page.control("SS", [group.title]);
        for known in group.options {
            page.control("TP", []);
            let mut names = Vec::new();
            for name in known.names {
                if !names.is_empty() {
                    names.push(roman(", "));
                }
                names.extend([bold(*name), roman(known.value)]);
            }
            page.text(names);
            page.text([roman(known.help)]);
        }
    }
}

fn verbatim(page: &mut Roff, text: &str) {
    page.control("PP", []);
    page.control("EX", []);
    for line in text.lines() {
        page.text([roman(line)]);
    }
    page.control("EE", []);
}

//! The report: `docs/benchmarks.md` and the plots beside it, made from results and never by hand.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use super::line::Line;
use super::plot::{Plot, Series};
use super::results::{Contender, Measured, Outcome, Results, Role};
use super::session::Session;
use super::targets::{Grade, Target, Verdict, time};
use super::{jobs, peers};

#[cfg(test)]
mod tests;

/// What the numbers were measured on.
#[derive(Debug)]
pub(super) struct Machine {
    /// Lines of a list.
    facts: Vec<String>,
    /// Program and version.
    versions: Vec<(String, String)>,
    /// Folders that stand in commands, with what is printed in their place.
    folders: Vec<(String, String)>,
}

impl Machine {
    pub(super) fn of(session: &Session) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let cpuinfo = read("/proc/cpuinfo");
        let model = field(&cpuinfo, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let kib: u64 = field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|text| text.split_whitespace().next()?.parse().ok())
            .unwrap_or(0);
        let release = read("/proc/sys/kernel/osrelease");
        let kernel: Vec<&str> = release.trim().split('.').take(2).collect();
        let disk = Line::new("stat").args(["-f", "-c", "%T"]).path(&session.home).run().unwrap_or_default();
        let facts = vec![
            format!("{model}, {cores} processors, {} GiB of memory", kib.div_ceil(1 << 20)),
            format!("Linux {}, stores on {disk}", kernel.join(".")),
        ];
        let target = session.home.parent().unwrap_or(&session.home).display().to_string();
        let folders = vec![(session.work().display().to_string(), "$W".to_owned()), (target, "target".to_owned())];
        Self { facts, versions: peers::versions(session), folders }
    }

    /// A command with no folder of this machine in it.
    fn shown(&self, command: &str) -> String {
        self.folders.iter().fold(command.to_owned(), |text, (folder, short)| text.replace(folder, short))
    }
}

/// Writes the page and the plots.
pub(super) fn write(root: &Path, machine: &Machine, results: &Results, judged: &[(&Target, Verdict)]) -> Result<()> {
    let docs = root.join("docs");
    let put = |path: &Path, text: &str| {
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let folder = docs.join("benchmarks");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, plot) in plots(results) {
        put(&folder.join(format!("{name}.svg")), &plot.svg())?;
    }
    put(&docs.join("benchmarks.md"), &page(machine, results, judged)?)
}

/// The jobs that ask how something grows, as pictures.
fn plots(results: &Results) -> Vec<(String, Plot)> {
    let axis = |name: &str| match name {
        "grow-entries" => "entries of the image",
        "grow-layers" => "layers of the image",
        _ => "containers in the store",
    };
    let growing = results.jobs.iter().filter(|(_, job)| job.contenders.iter().any(|one| one.at.is_some()));
    growing
        .map(|(name, job)| {
            (name.clone(), Plot { x: axis(name).to_owned(), y: "milliseconds".to_owned(), series: series(job) })
        })
        .collect()
}

/// One line for each name, with what has no size as a level one.
#[expect(clippy::cast_precision_loss, reason = "sizes and times of a plot")]
fn series(job: &Measured) -> Vec<Series> {
    let sizes: Vec<u64> = job.contenders.iter().filter_map(|one| one.at).collect();
    let mut series: Vec<Series> = Vec::new();
    for contender in &job.contenders {
        let Some(millis) = contender.millis() else { continue };
        let at = match contender.at {
            Some(at) => vec![at],
            None => sizes.iter().min().into_iter().chain(sizes.iter().max()).copied().collect(),
        };
        let points = at.into_iter().map(|at| (at as f64, millis.median));
        match series.iter_mut().find(|line| line.name == contender.name) {
            Some(line) => line.points.extend(points),
            None => series.push(Series {
                name: contender.name.clone(),
                points: points.collect(),
                floor: contender.role == Role::Floor,
            }),
        }
    }
    series
}

fn page(machine: &Machine, results: &Results, judged: &[(&Target, Verdict)]) -> Result<String> {
    let mut page = String::from(
        "# Benchmarks\n\nMade by `cargo xtask bench`, which runs mica and other tools on the same work in one run, in turn (A B A B), each \
         from the same state.\nCompare within a table: times of another machine or day say nothing. The targets are in \
         [bench/targets.toml](../bench/targets.toml).\n\n",
    );
    let dates: std::collections::BTreeSet<&str> = results.jobs.values().map(|job| job.date.as_str()).collect();
    writeln!(page, "Measured {}, on:\n", dates.into_iter().collect::<Vec<_>>().join(", "))?;
    for fact in &machine.facts {
        writeln!(page, "- {fact}")?;
    }
    let versions: Vec<String> = machine.versions.iter().map(|(name, version)| format!("{name} ({version})")).collect();
    writeln!(page, "- {}\n", versions.join(", "))?;
    targets(&mut page, judged)?;
    for kind in jobs::ALL {
        if let Some(job) = results.jobs.get(kind.name) {
            section(&mut page, machine, kind.name, job)?;
        }
    }
    Ok(page)
}

fn targets(page: &mut String, judged: &[(&Target, Verdict)]) -> Result<()> {
    page.push_str("## Targets\n\n| | target | found |\n|---|---|---|\n");
    for (target, verdict) in judged {
        let reason = match (verdict.grade, target.reason.as_str()) {
            (Grade::Pass, _) | (_, "") => String::new(),
            (_, reason) => format!("<br>{reason}"),
        };
        let (because, text) = (cell(&verdict.because), cell(&target.text));
        writeln!(
            page,
            "| {} | `{}` (issue {}): {text} | {because}{} |",
            verdict.grade,
            target.name,
            target.issue,
            cell(&reason)
        )?;
    }
    page.push('\n');
    Ok(())
}

/// Text for a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The beginning and the end of what would fill a page: what was done, and why it failed.
fn shortened(text: &str) -> String {
    const EACH: usize = 160;
    let characters: Vec<char> = text.chars().collect();
    match (characters.get(..EACH), characters.len().checked_sub(EACH).and_then(|from| characters.get(from..))) {
        (Some(first), Some(last)) if characters.len() > 3 * EACH => {
            format!("{} … {}", first.iter().collect::<String>(), last.iter().collect::<String>())
        }
        _ => text.to_owned(),
    }
}

fn section(page: &mut String, machine: &Machine, name: &str, job: &Measured) -> Result<()> {
    writeln!(page, "## {name}\n\n{} {}\n", job.what, job.fair)?;
    if job.contenders.iter().any(|one| one.at.is_some()) {
        growth(page, name, job)?;
    } else {
        table(page, machine, job)?;
    }
    let commands: Vec<String> = commands(machine, job);
    writeln!(page, "```text\n{}\n```\n", commands.join("\n"))?;
    Ok(())
}

/// Times side by side, each with its ratio to ours.
fn table(page: &mut String, machine: &Machine, job: &Measured) -> Result<()> {
    let ours: Vec<&Contender> = job.contenders.iter().filter(|one| one.role == Role::Ours).collect();
    // Where several commands of ours are measured, and none is what a user gets, there is no one to compare with.
    let ours = if let [one] = *ours { Some(one) } else { ours.into_iter().find(|one| one.name == "mica") };
    let ours = ours.and_then(Contender::millis);
    page.push_str("| | median | fastest to slowest | times mica | memory | runs |\n|---|---:|---:|---:|---:|---:|\n");
    for contender in &job.contenders {
        let name = match contender.role {
            Role::Ours => format!("**{}**", contender.name),
            Role::Peer => contender.name.clone(),
            Role::Floor => format!("*{}*", contender.name),
        };
        let (millis, peak) = match (contender.millis(), contender.peak_mib(), &contender.outcome) {
            (Some(millis), Some(peak), _) => (millis, peak),
            (_, _, Outcome::Absent(how)) => {
                writeln!(page, "| {name} | PEER-ABSENT: {} | | | | |", cell(how))?;
                continue;
            }
            (_, _, Outcome::Failed(why)) => {
                writeln!(page, "| {name} | failed: {} | | | | |", cell(&shortened(&machine.shown(why))))?;
                continue;
            }
            _ => continue,
        };
        let times = ours.map_or_else(String::new, |ours| format!("{:.2}", millis.median / ours.median));
        let range = format!("{} to {}", time(millis.min), time(millis.max));
        let runs = contender.samples().len();
        writeln!(page, "| {name} | {} | {range} | {times} | {peak:.0} MiB | {runs} |", time(millis.median))?;
    }
    page.push('\n');
    Ok(())
}

/// Medians by size, and the picture of them.
fn growth(page: &mut String, name: &str, job: &Measured) -> Result<()> {
    let sizes: std::collections::BTreeSet<u64> = job.contenders.iter().filter_map(|one| one.at).collect();
    let head: Vec<String> = sizes.iter().map(|size| grouped(*size)).collect();
    writeln!(page, "| | {} |\n|---|{}", head.join(" | "), "---:|".repeat(sizes.len()))?;
    let mut named: Vec<&str> = Vec::new();
    for contender in job.contenders.iter().filter(|one| one.at.is_some()) {
        if !named.contains(&contender.name.as_str()) {
            named.push(&contender.name);
        }
    }
    for line in named {
        let shown = |size: &u64| {
            let millis = job.find(&format!("{line}@{size}")).and_then(Contender::millis);
            millis.map_or_else(|| "failed".to_owned(), |millis| time(millis.median))
        };
        writeln!(page, "| **{line}** | {} |", sizes.iter().map(shown).collect::<Vec<_>>().join(" | "))?;
    }
    for contender in job.contenders.iter().filter(|one| one.at.is_none()) {
        let Some(millis) = contender.millis() else { continue };
        writeln!(
            page,
            "| *{}* | {} |{}",
            contender.name,
            time(millis.median),
            " |".repeat(sizes.len().saturating_sub(1))
        )?;
    }
    writeln!(page, "\n![{}](benchmarks/{name}.svg)\n", cell(&job.what))?;
    Ok(())
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Each command once; of a command at many sizes the smallest.
fn commands(machine: &Machine, job: &Measured) -> Vec<String> {
    let mut seen: Vec<&str> = Vec::new();
    let mut lines = Vec::new();
    for contender in job.contenders.iter().filter(|one| !one.command.is_empty()) {
        if !seen.contains(&contender.name.as_str()) {
            seen.push(&contender.name);
            lines.push(machine.shown(&contender.command));
        }
    }
    lines
}

use super::*;
use crate::bench::meter::Sample;
use crate::bench::targets::Bound;

fn contender(name: &str, at: Option<u64>, role: Role, ms: u64) -> Contender {
    let sample = Sample { wall_ns: ms * 1_000_000, peak_kib: 2048, ..Sample::default() };
    Contender {
        name: name.to_owned(),
        at,
        role,
        command: format!("/home/me/target/release/{name} --root /home/me/target/bench/work/a"),
        outcome: Outcome::Ran(vec![sample; 3]),
        daemon_peak_kib: None,
        instructions: None,
    }
}

fn job(contenders: Vec<Contender>) -> Measured {
    let text = |text: &str| text.to_owned();
    Measured { what: text("Load."), fair: text("Fair."), date: text("2026-01-31"), quick: false, contenders }
}

fn machine() -> Machine {
    Machine {
        facts: vec!["a machine".to_owned()],
        versions: vec![("podman".to_owned(), "podman version 4".to_owned())],
        folders: vec![
            ("/home/me/target/bench/work".to_owned(), "$W".to_owned()),
            ("/home/me/target".to_owned(), "target".to_owned()),
        ],
    }
}

#[test]
fn the_page_has_misses_with_their_reason_ratios_and_commands_without_this_machines_folders() {
    let mut absent = contender("docker", None, Role::Peer, 0);
    absent.outcome = Outcome::Absent("apt-get install docker.io".to_owned());
    absent.command = String::new();
    let contenders = vec![
        contender("mica", None, Role::Ours, 10),
        contender("podman", None, Role::Peer, 205),
        contender("floor", None, Role::Floor, 5),
        absent,
    ];
    let results = Results { jobs: [("run".to_owned(), job(contenders))].into() };
    let target = |name: &str, reason: &str| Target {
        name: name.to_owned(),
        issue: 3,
        text: "fast".to_owned(),
        job: "run".to_owned(),
        of: "mica".to_owned(),
        bound: Bound::Memory { mib: 1.0 },
        reason: reason.to_owned(),
    };
    let (missed, met) = (target("a", "a | b"), target("b", "no longer so"));
    let verdict = |grade, because: &str| Verdict { grade, because: because.to_owned() };
    let judged = [(&missed, verdict(Grade::Miss, "2 MiB")), (&met, verdict(Grade::Pass, "1 MiB"))];
    let page = page(&machine(), &results, &judged).unwrap();
    for wanted in [
        "| MISS | `a` (issue 3): fast | 2 MiB<br>a \\| b |\n| PASS | `b` (issue 3): fast | 1 MiB |\n",
        "| **mica** | 10.0 ms | 10.0 ms to 10.0 ms | 1.00 | 2 MiB | 3 |",
        "| podman | 205 ms | 205 ms to 205 ms | 20.50 | 2 MiB | 3 |",
        "| *floor* | 5.00 ms | 5.00 ms to 5.00 ms | 0.50 | 2 MiB | 3 |",
        "| docker | PEER-ABSENT: apt-get install docker.io |",
        "```text\ntarget/release/mica --root $W/a\ntarget/release/podman --root $W/a\n",
        "- podman (podman version 4)",
        "Measured 2026-01-31, on:",
    ] {
        assert!(page.contains(wanted), "{wanted}\n---\n{page}");
    }
    assert!(!page.contains("/home"), "{page}");
}

#[test]
fn what_a_user_gets_is_compared_with_and_a_long_failure_is_told_by_its_ends() {
    let mut failed = contender("overlay", None, Role::Peer, 0);
    failed.outcome = Outcome::Failed(format!("mount {} does not exist", "a:".repeat(2000)));
    let contenders =
        vec![contender("mica", None, Role::Ours, 10), contender("mica, cached", None, Role::Ours, 20), failed];
    let results = Results { jobs: [("union-find".to_owned(), job(contenders))].into() };
    let page = page(&machine(), &results, &[]).unwrap();
    assert!(page.contains("| **mica, cached** | 20.0 ms | 20.0 ms to 20.0 ms | 2.00 |"), "{page}");
    let told = page.lines().find(|line| line.starts_with("| overlay |")).unwrap();
    assert!(told.starts_with("| overlay | failed: mount a:a:") && told.contains(" … "), "{told}");
    assert!(told.contains("does not exist |") && told.len() < 400, "{told}");
}

#[test]
fn what_grows_is_a_table_by_size_and_a_plot_with_its_floor() {
    let ours = |name, at, ms| contender(name, Some(at), Role::Ours, ms);
    let contenders = vec![
        ours("create", 1_000, 4),
        ours("create", 1_000_000, 5),
        ours("diff", 1_000, 6),
        contender("fork+exec", None, Role::Floor, 1),
    ];
    let results = Results { jobs: [("grow-entries".to_owned(), job(contenders))].into() };
    let page = page(&machine(), &results, &[]).unwrap();
    let table = "| | 1,000 | 1,000,000 |\n|---|---:|---:|\n| **create** | 4.00 ms | 5.00 ms |\n| **diff** | 6.00 ms | failed |\n\
                 | *fork+exec* | 1.00 ms | |\n\n![Load.](benchmarks/grow-entries.svg)";
    assert!(page.contains(table), "{page}");
    assert_eq!(page.matches("target/release/create").count(), 1);
    let plots = plots(&results);
    assert_eq!(plots[0].0, "grow-entries");
    let series: Vec<_> = plots[0].1.series.iter().map(|line| (&line.name[..], line.points.len(), line.floor)).collect();
    assert_eq!(series, [("create", 2, false), ("diff", 1, false), ("fork+exec", 2, true)]);
}

#[test]
fn thousands_stand_apart() {
    assert_eq!([1, 999, 1000, 123_456, 1_000_000].map(grouped), ["1", "999", "1,000", "123,456", "1,000,000"]);
}

use std::collections::BTreeMap;

use super::*;
use crate::bench::meter::Sample;
use crate::bench::results::Role;

fn contender(label: &str, outcome: Outcome) -> Contender {
    let (name, at) = match label.split_once('@') {
        Some((name, at)) => (name, Some(at.parse().unwrap())),
        None => (label, None),
    };
    Contender {
        name: name.to_owned(),
        at,
        role: Role::Peer,
        command: String::new(),
        outcome,
        daemon_peak_kib: None,
        instructions: None,
    }
}

/// A contender whose runs took these milliseconds.
fn ran(label: &str, ms: &[u64]) -> Contender {
    let samples = ms.iter().map(|ms| Sample { wall_ns: ms * 1_000_000, peak_kib: ms * 1024, ..Sample::default() });
    contender(label, Outcome::Ran(samples.collect()))
}

fn grade(bound: Bound, of: &str, contenders: Vec<Contender>) -> (Grade, String) {
    let target = Target {
        name: "t".to_owned(),
        issue: 3,
        text: String::new(),
        job: "job".to_owned(),
        of: of.to_owned(),
        bound,
        reason: String::new(),
    };
    let job = Measured { what: String::new(), fair: String::new(), date: String::new(), quick: false, contenders };
    let verdict = verdict(&target, &Results { jobs: BTreeMap::from([("job".to_owned(), job)]) });
    (verdict.grade, verdict.because)
}

fn fastest(times: f64, among: &[&str]) -> Bound {
    Bound::Fastest { times, among: among.iter().map(|name| (*name).to_owned()).collect() }
}

#[test]
fn a_ratio_is_to_the_fastest_and_its_edge_passes() {
    let all = |own: u64| vec![ran("mica", &[own]), ran("a", &[4000]), ran("b", &[1000])];
    let bound = fastest(0.25, &["a", "b"]);
    let (passed, because) = grade(bound.clone(), "mica", all(250));
    assert_eq!((passed, &because[..]), (Grade::Pass, "0.25 of the fastest, b, at most 0.25: 250 ms to 1.00 s"));
    assert_eq!(grade(bound, "mica", all(251)).0, Grade::Miss);
}

#[test]
fn the_larger_floor_bounds_where_both_have_to_be_done() {
    let bound = Bound::Slowest { times: 1.5, among: vec!["inflate".to_owned(), "tar".to_owned()] };
    let all = |own: u64| vec![ran("mica", &[own]), ran("inflate", &[100]), ran("tar", &[200])];
    assert_eq!(grade(bound.clone(), "mica", all(300)).0, Grade::Pass);
    assert_eq!(grade(bound, "mica", all(301)).0, Grade::Miss);
}

#[test]
fn a_pass_needs_every_peer_and_a_miss_needs_one() {
    let absent = || contender("b", Outcome::Absent("apt-get install b".to_owned()));
    let bound = fastest(0.5, &["a", "b"]);
    let (without, because) = grade(bound.clone(), "mica", vec![ran("mica", &[1]), ran("a", &[10]), absent()]);
    assert_eq!(without, Grade::PeerAbsent);
    assert!(because.ends_with("but b is not installed: apt-get install b"), "{because}");
    assert_eq!(grade(bound.clone(), "mica", vec![ran("mica", &[9]), ran("a", &[10]), absent()]).0, Grade::Miss);
    assert_eq!(grade(fastest(0.5, &["b"]), "mica", vec![ran("mica", &[9]), absent()]).0, Grade::PeerAbsent);
    let broken = contender("b", Outcome::Failed("no".to_owned()));
    assert_eq!(grade(bound, "mica", vec![ran("mica", &[1]), ran("a", &[10]), broken]).0, Grade::PeerAbsent);
}

#[test]
fn what_we_cannot_do_is_a_miss_and_what_was_not_run_is_neither() {
    let broken = contender("mica", Outcome::Failed("refused".to_owned()));
    assert_eq!(
        grade(fastest(0.5, &["a"]), "mica", vec![broken, ran("a", &[1])]),
        (Grade::Miss, "mica: refused".into())
    );
    assert_eq!(grade(fastest(0.5, &["a"]), "other", vec![ran("a", &[1])]).0, Grade::NotRun);
}

#[test]
fn milliseconds_grow_with_a_slower_floor_and_never_shrink() {
    let bound = || Bound::Beside { ms: 10.0, floor: "exec".to_owned(), floor_ms: 1.0 };
    let of = |own: u64, floor: u64| grade(bound(), "mica", vec![ran("mica", &[own]), ran("exec", &[floor])]).0;
    assert_eq!((of(10, 1), of(11, 1)), (Grade::Pass, Grade::Miss));
    assert_eq!((of(30, 3), of(31, 3)), (Grade::Pass, Grade::Miss));
    assert_eq!(of(10, 0), Grade::Pass);
}

#[test]
fn equal_and_memory_are_judged_by_their_own_numbers() {
    let equal = || Bound::Equal { to: "create@1000".to_owned() };
    let all = |big: u64| vec![ran("create@1000", &[100]), ran("create@1000000", &[big])];
    assert_eq!(grade(equal(), "create@1000000", all(110)).0, Grade::Pass);
    assert_eq!(grade(equal(), "create@1000000", all(111)).0, Grade::Miss);
    let memory = |peak| grade(Bound::Memory { mib: 64.0 }, "mica", vec![ran("mica", &[1, peak, 2])]).0;
    assert_eq!((memory(64), memory(65)), (Grade::Pass, Grade::Miss));
}

#[test]
fn misses_come_first_and_otherwise_the_order_of_the_file_stays() {
    let text = r#"
        [[target]]
        name = "one"
        issue = 3
        text = "a"
        job = "job"
        of = "mica"
        bound = { fastest = { times = 0.5, among = ["a"] } }
        [[target]]
        name = "two"
        issue = 3
        text = "b"
        job = "job"
        of = "mica"
        bound = { memory = { mib = 1 } }
        reason = "it is large"
        [[target]]
        name = "three"
        issue = 3
        text = "c"
        job = "other"
        of = "mica"
        bound = { beside = { ms = 1, floor = "exec", floor_ms = 1 } }
    "#;
    let targets = parse(text, &["job", "other"]).unwrap();
    let contenders = vec![ran("mica", &[2]), ran("a", &[10])];
    let job = Measured { what: String::new(), fair: String::new(), date: String::new(), quick: false, contenders };
    let results = Results { jobs: BTreeMap::from([("job".to_owned(), job)]) };
    let names: Vec<_> =
        judge(&targets, &results).iter().map(|(target, verdict)| (&target.name[..], verdict.grade)).collect();
    assert_eq!(names, [("two", Grade::Miss), ("three", Grade::NotRun), ("one", Grade::Pass)]);
}

#[test]
fn a_target_without_a_job_or_with_a_name_that_is_taken_is_refused() {
    let one = "[[target]]\nname='a'\nissue=3\ntext=''\njob='j'\nof='mica'\nbound={memory={mib=1}}\n";
    assert!(parse(one, &["j"]).is_ok());
    assert!(format!("{:#}", parse(one, &["k"]).unwrap_err()).contains("there is no job \"j\""));
    assert!(format!("{:#}", parse(&one.repeat(2), &["j"]).unwrap_err()).contains("stands twice"));
    assert!(parse(&one.replace("mib", "kib"), &["j"]).is_err());
}

#[test]
fn times_have_three_digits_and_a_unit() {
    let shown = [0.1234, 12.34, 123.4, 1234.0, 45_678.0].map(time);
    assert_eq!(shown, ["0.12 ms", "12.3 ms", "123 ms", "1.23 s", "45.7 s"]);
}

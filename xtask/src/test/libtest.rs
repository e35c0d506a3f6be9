//! What a test binary printed, and what its tests said they skipped.

/// The end of one test binary, or of several in a row.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) passed: usize,
    /// Names of failed tests.
    pub(super) failed: Vec<String>,
    /// Names of tests that did not run, with the reason.
    pub(super) skipped: Vec<(String, String)>,
}

impl Report {
    /// Reads a libtest's output and the file in which skipped tests leave a line `crate::test: reason`.
    ///
    /// libtest counts a test that skips itself as passed, so it is taken from that count. `None` means that no summary
    /// was printed: the binary died.
    pub(super) fn read(output: &str, skips: &str) -> Option<Self> {
        let mut report = Self::default();
        let mut summaries = 0;
        let mut failed = 0;
        for counts in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
            summaries += 1;
            report.passed += count(counts, "passed");
            failed += count(counts, "failed");
        }
        if summaries == 0 {
            return None;
        }
        report.failed = failed_names(output);
        // A test that prints while another ends may garble the list of names, never the count.
        for number in report.failed.len()..failed {
            report.failed.push(format!("(a failed test whose name was lost: {})", number + 1));
        }
        for (path, reason) in skips.lines().filter_map(|line| line.split_once(": ")) {
            // The line names the crate too, which libtest leaves out.
            let name = path.split_once("::").map_or(path, |(_, inside)| inside);
            if !report.skipped.iter().any(|(known, _)| known == name)
                && !report.failed.iter().any(|known| known == name)
            {
                report.skipped.push((name.to_owned(), reason.to_owned()));
            }
        }
        report.passed = report.passed.saturating_sub(report.skipped.len());
        for line in output.lines().filter_map(|line| line.strip_prefix("test ")) {
            if let Some((name, why)) = line.split_once(" ... ignored") {
                let why = why.strip_prefix(", ").unwrap_or("marked #[ignore]");
                report.skipped.push((name.to_owned(), why.to_owned()));
            }
        }
        Some(report)
    }
}

/// The number before `word` in `ok. 3 passed; 1 failed; …`.
fn count(counts: &str, word: &str) -> usize {
    counts
        .split([';', '.'])
        .filter_map(|part| part.trim().strip_suffix(word))
        .find_map(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

/// The names in the lists at the end: indented lines after `failures:`, up to an empty one.
fn failed_names(output: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut lines = output.lines();
    while let Some(line) = lines.next() {
        if line == "failures:" {
            names.extend(lines.by_ref().map_while(|line| line.strip_prefix("    ")).map(str::to_owned));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 5 tests
test a::good ... ok
test a::skips ... ok
test b::bad ... FAILED
test b::later ... ignored, wants a moon
test b::never ... ignored

failures:

---- b::bad stdout ----
    an indented line of its own
thread 'b::bad' panicked

failures:
    b::bad

test result: FAILED. 2 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s
";

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn a_test_that_skipped_itself_is_not_counted_as_passed() {
        let report = Report::read(OUTPUT, "it::a::skips: needs root\nit::a::skips: needs root\n").unwrap();
        assert_eq!(report.passed, 1);
        assert_eq!(report.failed, ["b::bad"]);
        assert_eq!(
            report.skipped,
            pairs(&[("a::skips", "needs root"), ("b::later", "wants a moon"), ("b::never", "marked #[ignore]"),])
        );
    }

    #[test]
    fn a_failed_test_stays_failed_though_it_said_that_it_skips() {
        let report = Report::read(OUTPUT, "it::b::bad: needs root\n").unwrap();
        assert_eq!((report.passed, report.failed), (2, vec!["b::bad".to_owned()]));
    }

    #[test]
    fn several_summaries_are_added() {
        let twice = format!("{OUTPUT}{OUTPUT}");
        let report = Report::read(&twice, "").unwrap();
        assert_eq!((report.passed, report.failed.len()), (4, 2));
    }

    #[test]
    fn a_failure_counts_though_its_name_is_lost() {
        let report = Report::read("test result: FAILED. 0 passed; 2 failed; 0 ignored\n", "").unwrap();
        assert_eq!(report.failed.len(), 2);
    }

    #[test]
    fn a_binary_that_died_has_no_report() {
        assert_eq!(Report::read("running 3 tests\ntest a ... ok\n", ""), None);
    }
}

//! Where the store and the run root are when nobody names them.

use std::ffi::OsString;
use std::path::PathBuf;

use mica_engine::{EngineOptions, Error, Kind, Result};

use crate::args::GlobalArgs;

/// The store of root of this machine.
const ROOT: &str = "/var/lib/mica";

/// The run root of root of this machine.
const RUN_ROOT: &str = "/run/mica";

/// What was named; else root's places, or an ordinary user's by the XDG base directory specification.
pub(crate) fn of(global: &GlobalArgs, is_root: bool) -> Result<EngineOptions> {
    find(global, is_root, |name| std::env::var_os(name))
}

fn find(global: &GlobalArgs, is_root: bool, variable: impl Fn(&str) -> Option<OsString>) -> Result<EngineOptions> {
    // "If an implementation encounters a relative path ... it should consider the path invalid and ignore it."
    let place = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let root = match &global.root {
        Some(named) => named.clone(),
        None if is_root => ROOT.into(),
        None => place("XDG_DATA_HOME")
            .or_else(|| Some(place("HOME")?.join(".local/share")))
            .map(|data| data.join("mica"))
            .ok_or_else(|| {
                Error::new(
                    Kind::Usage,
                    "there is no place for a store: neither XDG_DATA_HOME nor HOME is an absolute path",
                )
                .hinted("name one with --root or MICA_ROOT")
            })?,
    };
    let run_root = match &global.run_root {
        Some(named) => named.clone(),
        None if is_root => RUN_ROOT.into(),
        None => place("XDG_RUNTIME_DIR").map_or_else(|| root.join("run"), |runtime| runtime.join("mica")),
    };
    Ok(EngineOptions { root, run_root })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(global: &GlobalArgs, is_root: bool, variables: &[(&str, &str)]) -> Result<(String, String)> {
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        let text = |path: PathBuf| path.display().to_string();
        find(global, is_root, variable).map(|options| (text(options.root), text(options.run_root)))
    }

    #[test]
    fn each_has_its_places() {
        let named = GlobalArgs { root: Some("/r".into()), run_root: Some("/x".into()) };
        let none = GlobalArgs { root: None, run_root: None };
        let all = [("HOME", "/h"), ("XDG_DATA_HOME", "/d"), ("XDG_RUNTIME_DIR", "/t")];
        for (global, is_root, variables, root, run_root) in [
            (&named, false, &all[..], "/r", "/x"),
            (&named, true, &all, "/r", "/x"),
            (&none, true, &all, "/var/lib/mica", "/run/mica"),
            (&none, true, &[], "/var/lib/mica", "/run/mica"),
            (&none, false, &all, "/d/mica", "/t/mica"),
            (&none, false, &all[..1], "/h/.local/share/mica", "/h/.local/share/mica/run"),
            (
                &none,
                false,
                &[("HOME", "/h"), ("XDG_DATA_HOME", "d")],
                "/h/.local/share/mica",
                "/h/.local/share/mica/run",
            ),
        ] {
            assert_eq!(found(global, is_root, variables).unwrap(), (root.to_owned(), run_root.to_owned()));
        }
    }

    #[test]
    fn without_a_home_there_is_no_place() {
        let none = GlobalArgs { root: None, run_root: None };
        for variables in [&[][..], &[("HOME", "")], &[("HOME", "relative")]] {
            let error = found(&none, false, variables).unwrap_err();
            assert!(error.to_string().contains("HOME"), "{error}");
            assert!(error.hint().unwrap().contains("--root"));
        }
    }
}

//! The files of an integration test binary.

use std::fs;
use std::path::Path;

/// Asserts that every file of the folder `tests/it` below a crate is a `mod` of its `main.rs`: one that is not would never
/// run.
///
/// To be called with `env!("CARGO_MANIFEST_DIR")`.
pub fn assert_no_test_file_is_forgotten(crate_folder: &str) {
    let here = Path::new(crate_folder).join("tests/it");
    let main = fs::read_to_string(here.join("main.rs")).unwrap();
    for file in fs::read_dir(here).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").unwrap_or(&name);
        assert!(module == "main" || main.contains(&format!("mod {module};")), "{name} is no `mod` of main.rs");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scratch;

    #[test]
    fn a_file_that_no_module_names_is_found() {
        let scratch = Scratch::new();
        let it = scratch.path().join("tests/it");
        fs::create_dir_all(it.join("common")).unwrap();
        fs::write(it.join("main.rs"), "mod common;\nmod one;\n").unwrap();
        fs::write(it.join("one.rs"), "").unwrap();
        let folder = scratch.path().to_str().unwrap().to_owned();
        assert_no_test_file_is_forgotten(&folder);
        fs::write(it.join("two.rs"), "").unwrap();
        assert!(std::panic::catch_unwind(|| assert_no_test_file_is_forgotten(&folder)).is_err());
    }
}

//! Names of two words for containers that were given none.

use mica_store::ContainerName;

use crate::error::{Error, Kind, Result};

const HOW: [&str; 48] = [
    "airy", "amber", "bold", "brisk", "calm", "clear", "cosy", "crisp", "deft", "eager", "early", "fair", "fleet",
    "fond", "frank", "fresh", "glad", "golden", "grand", "hardy", "hazel", "keen", "kind", "lively", "loyal", "lucid",
    "mellow", "merry", "mild", "neat", "noble", "placid", "plucky", "polite", "proud", "quick", "quiet", "rapid",
    "ready", "serene", "sharp", "smart", "steady", "sunny", "swift", "tidy", "vivid", "witty",
];

const WHAT: [&str; 48] = [
    "agate", "alder", "aspen", "basalt", "beech", "birch", "brook", "cedar", "chalk", "clay", "cliff", "cobalt",
    "copper", "coral", "delta", "dune", "elm", "fern", "fjord", "flint", "garnet", "gneiss", "granite", "heath", "ivy",
    "jasper", "larch", "lichen", "maple", "marble", "marsh", "meadow", "mica", "moss", "oak", "opal", "pine", "quartz",
    "reef", "ridge", "schist", "shale", "slate", "spruce", "topaz", "tundra", "willow", "yew",
];

/// Tries names until `make` takes one that nobody has.
pub(crate) fn with_free_name<T>(make: impl Fn(ContainerName) -> Result<T>) -> Result<T> {
    for attempt in 0..32 {
        match make(name(attempt)?) {
            Err(error) if error.kind() == Kind::Conflict && attempt < 31 => {}
            made => return made,
        }
    }
    Err(Error::new(Kind::Conflict, "no free name was found").hinted("choose one with --name"))
}

/// Two words by chance; after some attempts a number behind them.
fn name(attempt: u32) -> Result<ContainerName> {
    let random = mica_store::ContainerId::random()?;
    let number = |from: usize| {
        random.as_str().get(from..from + 6).and_then(|hex| usize::from_str_radix(hex, 16).ok()).unwrap_or(0)
    };
    let how = HOW.get(number(0) % HOW.len()).unwrap_or(&"plain");
    let what = WHAT.get(number(6) % WHAT.len()).unwrap_or(&"stone");
    let name = if attempt < 8 { format!("{how}_{what}") } else { format!("{how}_{what}_{}", number(12) % 10_000) };
    Ok(ContainerName::new(&name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_is_tried_again_and_other_errors_are_not() {
        let tried = std::cell::Cell::new(0);
        let made = with_free_name(|name| {
            tried.set(tried.get() + 1);
            if tried.get() < 12 { Err(Error::new(Kind::Conflict, "taken")) } else { Ok(name) }
        });
        assert!(made.unwrap().as_str().split('_').count() == 3);
        let failed = with_free_name(|_| -> Result<()> { Err(Error::new(Kind::NoSpace, "full")) });
        assert_eq!(failed.unwrap_err().kind(), Kind::NoSpace);
    }
}

//! Which of an index's images fits a platform.

use mica_core::image::Platform;

use super::Platforms;
use crate::TransportError;

/// How well `have` serves `want`: `None` not at all, else the lower the better.
pub(crate) fn fit(have: &Platform, want: &Platform) -> Option<u32> {
    if have.os != want.os || have.architecture != want.architecture {
        return None;
    }
    let (have, want) = (level(have), level(want));
    // A machine runs what was made for older ones of its line; of these the newest is best.
    want.checked_sub(have)
}

/// Refuses an image whose config says another platform than the one that was asked for.
pub(crate) fn expect(have: &Platform, wanted: &Platforms) -> Result<(), TransportError> {
    match wanted {
        Platforms::One(wanted) if fit(have, wanted).is_none() => {
            Err(TransportError::NoPlatform { wanted: wanted.to_string(), available: vec![have.to_string()] })
        }
        _ => Ok(()),
    }
}

/// The variant as a number: `v8` is 8. Without one, the variant that the architecture began with in images.
fn level(platform: &Platform) -> u32 {
    let written = platform.variant.as_deref().and_then(|variant| variant.strip_prefix('v')?.parse().ok());
    written.unwrap_or(match platform.architecture.as_str() {
        "arm64" => 8,
        "arm" => 7,
        _ => 1,
    })
}

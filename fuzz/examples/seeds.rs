//! Writes `fuzz/seeds/` anew.

fn main() -> std::io::Result<()> {
    mica_fuzz::seeds::write(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds"))
}

//! The parser against hand-made and mutated archives.

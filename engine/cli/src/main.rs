//! The `punktfunk` executable.
fn main() {}

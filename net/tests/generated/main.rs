//! Everything that a network brings to the parsers, in bulk: inputs near those of a real peer,
//! changed by chance, through the bodies of the fuzz targets in `net/fuzz`. Each test runs 10⁶
//! inputs, or as many as the variable `PUNKTFUNK_GENERATED_INPUTS` says, from the seed
//! `PUNKTFUNK_GENERATED_SEED` on, so that a long run goes where none was:
//!
//! ```text
//! PUNKTFUNK_GENERATED_INPUTS=15000000 cargo test --release -p net --test generated -- --nocapture
//! ```

mod chance;
mod gamestream;
mod native;

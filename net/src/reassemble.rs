//! reassemble

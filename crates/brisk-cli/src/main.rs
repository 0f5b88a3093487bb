//! The command line of Brisk.
fn main() {}

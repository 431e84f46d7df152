//! The real binary against a real EVM. Tests marked "needs anvil" run where anvil is installed (the program named by
//! ANVIL, or on the path): `cargo test -- --include-ignored`.

mod chain;
mod daemon;
mod page;
mod rounds;

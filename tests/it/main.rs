//! The real binary against a real EVM. Tests marked "needs anvil" run where anvil is installed (the program named by
//! ANVIL, or on the path): `cargo test -- --include-ignored`.

mod attacks;
mod authorities;
mod budget;
mod commands;
mod configuration;
mod conformance;
mod contract;
mod crowds;
mod failover;
mod finished;
mod following;
mod foreign;
mod frames;
mod histories;
mod judges;
mod many;
mod oddities;
mod operating;
mod page;
mod page_check;
mod page_promises;
mod page_troubles;
mod page_wallet;
mod poller;
mod port;
mod proofs;
mod proxies;
mod rounds;
mod signers;
mod slow;
mod small_print;
mod threads;
mod unknown;
mod warnings;
mod web;

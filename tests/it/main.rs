//! The one integration binary: what only real programs can prove.
#![expect(
    clippy::disallowed_methods,
    reason = "tests are users: they start programs, read the environment and the clock"
)]

mod attack;
mod command_line;
mod contract;
mod crash;
mod demo;
mod engine;
mod doors;
mod git;
mod github_on_sim;
mod journeys;
mod page;
mod policy;
mod process;
mod serve;
mod served;
mod tidy;
mod terragrunt;
mod tool;
mod webhook_examples;
mod world;

//! Lockkeeper: plans, judges and applies infrastructure stacks in dependency order, from the pull request.
//!
//! The folders below stand in reading order, and that is dependency order: a folder may name only folders
//! above it, and adapters (`github`, `git`, `tool`, `policy`, `store`) do not name each other.
//! `tests/it/tidy.rs` reads `src/` and enforces it.
pub mod domain;
pub mod engine;
pub mod render;
pub mod process;
pub mod source;
pub mod github;
pub mod git;
pub mod tool;
pub mod policy;
pub mod store;
pub mod worker;
pub mod http;
pub mod sim;
pub mod cli;

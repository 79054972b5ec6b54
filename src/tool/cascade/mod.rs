//! Owns the cascade: a downstream stack planned with what its upstreams would give it.

pub mod feeds;
pub mod marks;
pub mod names;
pub mod outcome;
pub mod printed;
pub mod rests;
pub mod rewrite;
pub mod run;
pub mod said;
pub mod scratch;
pub mod strip;
pub mod supply;
pub mod texts;

#[cfg(test)]
mod tests;

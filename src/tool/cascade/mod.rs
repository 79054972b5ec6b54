//! Owns the cascade: a downstream stack planned with what its upstreams would give it.

pub mod feeds;
pub mod names;
pub mod rests;
pub mod rewrite;
pub mod texts;

#[cfg(test)]
mod tests;

//! Owns the nouns and the rules between them: no I/O, no clock, no async, no environment.

pub mod ids;
pub mod located;
pub mod refusal;
pub mod verdict;
pub mod plan;
pub mod pull;
pub mod rules;
pub mod object;
pub mod owner;
pub mod layout;
pub mod unit;
pub mod graph;
pub mod command;
pub mod run;
pub mod ended;
pub mod event;
pub mod job;
pub mod state;

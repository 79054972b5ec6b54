//! The engine in a model world: GitHub, the tool and the store are a few hundred lines of memory, so that every
//! decision is the real one and thousands of lives can be tried.

mod approvals;
mod cascade;
mod commands;
mod drawn;
mod gone;
mod life;
mod many;
mod replies;
mod shown;
mod story;
mod states;
mod world;

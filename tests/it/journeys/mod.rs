//! Owns the journeys: what users do, and what GitHub shows them afterwards.

mod planning;
mod shapes;
mod environments;
mod gone;
mod applying;
mod waves;
mod cascade;
mod pushes;
mod approvals;
mod policies;
mod config;
mod targets;
mod locks;
mod states;
mod lifecycle;
mod forks;
mod commands;
mod outputs;
mod terragrunt;
mod secrets;
mod modules;
mod limits;
mod trouble;

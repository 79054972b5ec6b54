//! Owns the talk with terraform and OpenTofu: `seed::prepare`, `plan::plan`, `output::outputs`, `apply::apply`.

pub mod apply;
pub mod error;
pub mod output;
pub mod plan;
pub mod program;
pub mod seed;
pub mod site;
pub mod terragrunt;
pub mod backend;
pub mod beneath;
pub mod cascade;
pub mod diagnostics;
pub mod fetch;
pub mod inputs;
pub mod mask;
pub mod providers;
pub mod reading;
pub mod redact;
pub mod run;
pub mod version;
pub mod workspace;

//! Owns where a finding goes.

use crate::domain::ids::RepoPath;
use crate::tool::cascade::rests::{DataSources, On, Position, Rests};

/// What a node is, for those who ask what rests on what.
pub enum Report {
    Position(Position),
    Provider(String),
    Data(String, (RepoPath, String, String)),
    Written(String, String),
    Computed(String),
    Exists(String),
    Output(String),
}

pub fn file(report: Report, on: On, rests: &mut Rests, data_sources: &mut DataSources) {
    match report {
        Report::Position(position) => {
            let list = match position.what {
                super::What::Condition => &mut rests.conditions,
                super::What::Count | super::What::ForEach | super::What::Enabled | super::What::ImportId => {
                    &mut rests.refusing
                }
            };
            list.push(Position { on, ..position });
        }
        Report::Provider(address) => rests.providers.entry(address).or_default().extend(on),
        Report::Data(address, data) => {
            rests.data.entry(address).or_default().extend(on.clone());
            data_sources.entry(data).or_default().extend(on);
        }
        Report::Written(address, attribute) => {
            let written = &mut rests.resources.entry(address).or_default().written;
            written.entry(attribute).or_default().extend(on);
        }
        Report::Computed(address) => rests.resources.entry(address).or_default().computed.extend(on),
        Report::Exists(address) => rests.resources.entry(address).or_default().exists.extend(on),
        Report::Output(name) => rests.outputs.entry(name).or_default().extend(on),
    }
}

//! Owns the contract: what is sent to GitHub, and what the simulator says, fits GitHub's own description.
//!
//! The description comes from npm (`@octokit/openapi`, `@octokit/graphql-schema`), once, into the target folder.
//! Where npm is not reachable the check is left out and says so, unless `LOCKKEEPER_TEST_REQUIRE` names `npm`.

use std::collections::BTreeSet;

use lockkeeper::sim::server::{Door, Exchange};
use lockkeeper::sim::webhooks::Delivery;

mod description;
mod graphql;
mod openapi;
mod tour;

/// What does not fit, each once; nothing where it all fits or the description cannot be had.
pub fn check(exchanges: &[Exchange]) -> BTreeSet<String> {
    let mut wrong = BTreeSet::new();
    for exchange in exchanges.iter().filter(|exchange| !exchange.fault) {
        match exchange.door {
            Door::Git | Door::Page => {}
            Door::Api => openapi::check(exchange, &mut wrong),
            Door::Graphql => graphql::check(exchange, &mut wrong),
        }
    }
    openapi::forgive(&mut wrong);
    wrong
}

/// What does not fit of the simulator's own webhooks.
pub fn check_webhooks(deliveries: &[Delivery]) -> BTreeSet<String> {
    let mut wrong = BTreeSet::new();
    for delivery in deliveries {
        openapi::check_webhook(delivery, &mut wrong);
    }
    openapi::forgive(&mut wrong);
    wrong
}

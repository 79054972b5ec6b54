//! Owns the signed, expiring links to run pages: whoever can see the check can see the page, nobody else.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::ids::{PullId, PullNumber, RepoId, RunId, StackName, Timestamp};

/// How long a link works at least; it is rounded up so that the same page has the same link for a while and an
/// unchanged comment stays unchanged.
const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
const ROUND: i64 = 7 * 24 * 3600 * 1000;

/// Makes and checks links.
#[derive(Clone)]
pub struct Links {
    key: [u8; 32],
    /// `None`: no address is set, so there are no links.
    public_url: Option<String>,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub pull: PullId,
    pub run: RunId,
    pub stack: StackName,
}

/// What a link is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    Good,
    /// Ours, and past its end.
    Ended,
    NotOurs,
}

impl Links {
    pub fn new(key: [u8; 32], public_url: Option<String>) -> Self {
        let public_url = public_url.map(|url| url.trim_end_matches('/').to_owned());
        Links { key, public_url }
    }

    /// The page's address from now on for at least thirty days.
    pub fn to(&self, page: &Page, now: Timestamp) -> Option<String> {
        let url = self.public_url.as_ref()?;
        let until = now.plus(LIFE).0.div_euclid(ROUND) * ROUND + ROUND;
        let Page { pull, run, stack } = page;
        let path = format!("/runs/{}/{}/{run}/{}", pull.repo, pull.number, encode(stack.as_str()));
        Some(format!(
            "{url}{path}?until={until}&sig={}",
            hex::encode(self.sign(page, until))
        ))
    }

    /// What a signature is worth that is said to be ours for that page. That a link has ended is said of ours only.
    pub fn check(&self, page: &Page, until: i64, signature: &str, now: Timestamp) -> Worth {
        let signed = hex::decode(signature);
        match signed.is_ok_and(|signature| self.mac(page, until).verify_slice(&signature).is_ok()) {
            false => Worth::NotOurs,
            true if until <= now.0 => Worth::Ended,
            true => Worth::Good,
        }
    }

    fn sign(&self, page: &Page, until: i64) -> Vec<u8> {
        self.mac(page, until).finalize().into_bytes().to_vec()
    }

    fn mac(&self, page: &Page, until: i64) -> Hmac<Sha256> {
        let Page {
            pull: PullId {
                repo: RepoId(repo),
                number: PullNumber(number),
            },
            run,
            stack,
        } = page;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any key length will do");
        mac.update(format!("page\n{repo}\n{number}\n{run}\n{until}\n{stack}").as_bytes());
        mac
    }
}

/// A stack's name as one path segment.
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_for_one_page_and_ends() {
        let links = Links::new([7; 32], Some("https://x/".to_owned()));
        let page = |stack: &str| Page {
            pull: PullId {
                repo: RepoId(1),
                number: PullNumber(2),
            },
            run: RunId(uuid::Uuid::nil()),
            stack: StackName::parse(stack).expect("a name"),
        };
        let now = Timestamp(1_000_000);
        let url = links.to(&page("infra/a"), now).expect("an address");
        assert!(url.starts_with("https://x/runs/1/2/"), "{url}");
        assert!(url.contains("/infra%2Fa?"), "{url}");
        let until: i64 = url
            .split("until=")
            .nth(1)
            .and_then(|rest| rest.split('&').next()?.parse().ok())
            .expect("a number");
        let signature = url.split("sig=").nth(1).expect("a signature");
        let worth = |stack: &str, until, signature, now| links.check(&page(stack), until, signature, now);
        assert_eq!(worth("infra/a", until, signature, now), Worth::Good);
        assert_eq!(worth("infra/a", until, signature, Timestamp(until)), Worth::Ended);
        for forged in [
            worth("infra/b", until, signature, now),
            worth("infra/a", until + 1, signature, now),
            worth("infra/a", 1, signature, now),
            worth("infra/a", until, "00", now),
            worth("infra/a", until, "no hex", Timestamp(until)),
            Links::new([8; 32], None).check(&page("infra/a"), until, signature, now),
        ] {
            assert_eq!(forged, Worth::NotOurs);
        }
        assert_eq!(
            links.to(&page("a"), now),
            links.to(&page("a"), now.plus(Duration::from_secs(60)))
        );
    }
}

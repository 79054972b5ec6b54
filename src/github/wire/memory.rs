//! Owns the answers we remember, to ask for them conditionally.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::github::wire::Caller;

/// All remembered bodies together hold at most this many bytes.
const LARGEST: usize = 2 * 1024 * 1024;

/// Answers with their entity tags, by caller and address; the one kept longest ago goes first.
#[derive(Debug, Default)]
pub struct Memory {
    entries: BTreeMap<(Caller, String), Entry>,
    bytes: usize,
    kept: u64,
}

#[derive(Debug)]
struct Entry {
    etag: HeaderValue,
    headers: HeaderMap,
    body: Bytes,
    kept: u64,
}

impl Memory {
    pub fn etag(&self, (caller, url): (Caller, &str)) -> Option<HeaderValue> {
        let entry = self.entries.get(&(caller, url.to_owned()))?;
        Some(entry.etag.clone())
    }

    pub fn body(&self, (caller, url): (Caller, &str)) -> Option<(HeaderMap, Bytes)> {
        let entry = self.entries.get(&(caller, url.to_owned()))?;
        Some((entry.headers.clone(), entry.body.clone()))
    }

    /// Keeps an answer that has a tag.
    pub fn keep(&mut self, (caller, url): (Caller, &str), headers: &HeaderMap, body: &Bytes) {
        let Some(etag) = headers.get("etag") else { return };
        // Half an answer must not be held against us: every later question would be told that nothing changed.
        let whole = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        if !whole || body.len() > LARGEST / 8 {
            return;
        }
        self.kept += 1;
        let entry = Entry {
            etag: etag.clone(),
            headers: headers.clone(),
            body: body.clone(),
            kept: self.kept,
        };
        self.bytes += body.len();
        if let Some(old) = self.entries.insert((caller, url.to_owned()), entry) {
            self.bytes -= old.body.len();
        }
        while self.bytes > LARGEST {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.kept);
        let Some(key) = oldest.map(|(key, _)| key.clone()) else {
            self.bytes = 0;
            return;
        };
        if let Some(old) = self.entries.remove(&key) {
            self.bytes -= old.body.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_does_not_grow_without_end() {
        let mut memory = Memory::default();
        let mut headers = HeaderMap::new();
        headers.insert("etag", HeaderValue::from_static("\"1\""));
        let body = Bytes::from(format!("\"{}\"", "x".repeat(LARGEST / 10)));
        for n in 0..50 {
            memory.keep((Caller::App, &format!("/{n}")), &headers, &body);
            memory.keep((Caller::App, "/same"), &headers, &body);
        }
        assert!(memory.bytes <= LARGEST);
        // Each takes a little more than a tenth: its address and headers count too.
        assert_eq!(memory.entries.len(), 9);
        assert!(memory.etag((Caller::App, "/same")).is_some());
        assert!(memory.etag((Caller::App, "/0")).is_none());
        memory.keep((Caller::App, "/huge"), &headers, &Bytes::from(vec![0; LARGEST]));
        assert!(memory.etag((Caller::App, "/huge")).is_none());
    }

    #[test]
    fn half_an_answer_is_not_kept() {
        let mut memory = Memory::default();
        let mut headers = HeaderMap::new();
        headers.insert("etag", HeaderValue::from_static("\"1\""));
        memory.keep(
            (Caller::App, "/half"),
            &headers,
            &Bytes::from_static(b"{\"number\": 1, \"hea"),
        );
        assert!(memory.etag((Caller::App, "/half")).is_none());
        memory.keep(
            (Caller::App, "/half"),
            &headers,
            &Bytes::from_static(b"{\"number\": 1}"),
        );
        assert!(memory.etag((Caller::App, "/half")).is_some());
    }
}

//! Owns the description of one request: route template, what fills it, query, body, and whether it may repeat.

use http::Method;
use serde_json::Value;

use crate::domain::ids::RepoName;

/// Whether a call may be sent again when nobody knows what became of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It reads, or sending it twice leaves the same.
    Freely,
    /// It makes something: the caller looks it up by its mark before it sends again.
    Never,
}

/// Whether the answer is kept and asked for conditionally the next time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remember {
    Yes,
    No,
}

/// Which of the two APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    Rest,
    Graphql,
}

/// One request to GitHub, described.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    route: &'static str,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    repeat: Repeat,
    remember: Remember,
    api: Api,
}

impl Call {
    pub fn get(route: &'static str) -> Self {
        Call::new(Method::GET, route, Repeat::Freely)
    }

    /// A request that makes something: never sent twice unless [`Call::idempotent`] says so.
    pub fn post(route: &'static str, body: Value) -> Self {
        Call::new(Method::POST, route, Repeat::Never).body(body)
    }

    /// An update to given values: sending it twice leaves the same.
    pub fn patch(route: &'static str, body: Value) -> Self {
        Call::new(Method::PATCH, route, Repeat::Freely).body(body)
    }

    /// A GraphQL query (never a mutation).
    pub fn query(query: &'static str, variables: Value) -> Self {
        let body = serde_json::json!({ "query": query, "variables": variables });
        let mut call = Call::new(Method::POST, "/graphql", Repeat::Freely).body(body);
        call.api = Api::Graphql;
        call
    }

    fn new(method: Method, route: &'static str, repeat: Repeat) -> Self {
        Call {
            method,
            route,
            path: route.to_owned(),
            query: Vec::new(),
            body: None,
            repeat,
            remember: Remember::No,
            api: Api::Rest,
        }
    }

    fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Puts a value at `{name}`, encoded as one path segment.
    pub fn fill(mut self, name: &str, value: impl ToString) -> Self {
        let place = format!("{{{name}}}");
        self.path = self.path.replacen(&place, &segment(&value.to_string()), 1);
        self
    }

    /// Fills `{owner}` and `{repo}`.
    pub fn repo(self, repo: &RepoName) -> Self {
        self.fill("owner", repo.owner()).fill("repo", repo.name())
    }

    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// One page of a list, a hundred entries each, counted from 1.
    pub fn page(mut self, page: u32) -> Self {
        self.query.retain(|(name, _)| !matches!(*name, "per_page" | "page"));
        self.with("per_page", 100).with("page", page)
    }

    /// Sending it twice leaves the same.
    pub fn idempotent(mut self) -> Self {
        self.repeat = Repeat::Freely;
        self
    }

    /// Sending it twice does something twice.
    pub fn once(mut self) -> Self {
        self.repeat = Repeat::Never;
        self
    }

    /// Keeps the answer and asks conditionally the next time: an unchanged answer costs no rate limit.
    pub fn remembered(mut self) -> Self {
        self.remember = Remember::Yes;
        self
    }

    pub fn method(&self) -> &Method {
        &self.method
    }

    pub fn route(&self) -> &'static str {
        self.route
    }

    pub fn repeat(&self) -> Repeat {
        self.repeat
    }

    pub fn remember(&self) -> Remember {
        self.remember
    }

    pub fn api(&self) -> Api {
        self.api
    }

    /// The body as it is sent.
    pub fn payload(&self) -> Option<String> {
        self.body.as_ref().map(Value::to_string)
    }

    /// Path and query, to be put behind the API's base.
    pub fn target(&self) -> String {
        if self.query.is_empty() {
            return self.path.clone();
        }
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.query.iter().map(|(name, value)| (*name, value.as_str())));
        format!("{}?{}", self.path, query.finish())
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters: a branch name is one segment, as GitHub's
/// own clients send it, and nothing in it can leave the path.
fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_a_route_stays_in_its_segment() {
        let call = Call::get("/repos/{owner}/{repo}/branches/{branch}")
            .repo(&RepoName::parse("acme/infra").expect("a name"))
            .fill("branch", "feature/ü?x#../y");
        assert_eq!(
            call.target(),
            "/repos/acme/infra/branches/feature%2F%C3%BC%3Fx%23..%2Fy"
        );
        assert_eq!(call.route(), "/repos/{owner}/{repo}/branches/{branch}");
    }

    #[test]
    fn a_query_is_encoded() {
        let call = Call::get("/a").with("ref", "refs/heads/a&b=c").page(2).page(3);
        assert_eq!(call.target(), "/a?ref=refs%2Fheads%2Fa%26b%3Dc&per_page=100&page=3");
    }
}

//! Owns the reading of an answer that is not a success: from status, headers and body to what the caller should do.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::domain::ids::Timestamp;
use crate::github::error::{Detail, GithubError, one_line};
use crate::github::wire::call::Call;

/// GitHub asks for at least this after a secondary limit that names no time.
const SECONDARY_WAIT: Duration = Duration::from_secs(60);
/// A limit never lasts longer than this, whatever a header says: a broken one must not silence us for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(2 * 60 * 60);

/// An answer that is not a success, and how long GitHub wants us to be quiet if it says so.
#[derive(Debug)]
pub struct Refusal {
    pub error: GithubError,
    pub wait: Option<Duration>,
}

/// Reads an answer whose status is neither 2xx nor 304. The body may be anything, HTML too.
pub fn classify(call: &Call, status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Refusal {
    let said = said(body);
    let detail = Box::new(Detail {
        method: call.method().to_string(),
        route: call.route(),
        status: Some(status.as_u16()),
        request_id: text(headers, "x-github-request-id").map(one_line),
        said: said.clone(),
    });
    if let Some(wait) = limited(status, headers, &said, now) {
        let until = now.plus(wait);
        return Refusal {
            error: GithubError::RateLimited { until, detail },
            wait: Some(wait),
        };
    }
    let error = match status.as_u16() {
        404 | 410 => GithubError::NotFound { detail },
        401 | 403 | 405 | 409 | 412 | 422 | 423 | 451 => {
            let sentence = sentence(status.as_u16(), &said);
            GithubError::Refused { sentence, detail }
        }
        408 | 500..=599 => GithubError::Transient { detail },
        _ => GithubError::Unexpected { detail },
    };
    Refusal {
        error,
        wait: retry_after(headers),
    }
}

/// How long a 403 or 429 wants us to wait, if it is about a limit. The order is GitHub's: `retry-after`, then
/// an empty allowance, then the message of the secondary limit, which may come with neither.
fn limited(status: StatusCode, headers: &HeaderMap, said: &str, now: Timestamp) -> Option<Duration> {
    if !matches!(status.as_u16(), 403 | 429) {
        return None;
    }
    let wait = retry_after(headers)
        .or_else(|| exhausted(headers, now))
        .or_else(|| is_secondary(said).then_some(SECONDARY_WAIT))
        .or_else(|| (status.as_u16() == 429).then_some(SECONDARY_WAIT))?;
    Some(wait.min(LONGEST_WAIT))
}

/// `You have exceeded a secondary rate limit. Please wait a few minutes before you try again.`, and the older
/// `You have triggered an abuse detection mechanism.`
fn is_secondary(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    said.contains("secondary rate limit") || said.contains("abuse detection") || said.contains("rate limit exceeded")
}

/// The wait that `retry-after` asks for, in seconds, never longer than the longest.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = text(headers, "retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// How long until the primary allowance is new, where these headers say that it is used up (on a success too).
pub fn exhausted(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let remaining: i64 = text(headers, "x-ratelimit-remaining")?.trim().parse().ok()?;
    let reset: i64 = text(headers, "x-ratelimit-reset")?.trim().parse().ok()?;
    if remaining > 0 {
        return None;
    }
    // A second more than it says: GitHub counts whole seconds.
    let wait = reset
        .saturating_add(1)
        .saturating_mul(1000)
        .saturating_sub(now.0)
        .max(1000);
    let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(1000));
    Some(wait.min(LONGEST_WAIT))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The sentence for people: GitHub's own, unless it says nothing to someone who does not know the API.
fn sentence(status: u16, said: &str) -> String {
    match (status, said) {
        (401, _) => "it does not accept the App's credentials (check the App's id, its private key and the \
                     server's clock)"
            .to_owned(),
        (_, said) if said.contains("Resource not accessible by integration") => {
            "the App lacks a permission for this (an owner must accept its permissions in the installation's settings)"
                .to_owned()
        }
        (status, "") => format!("status {status}"),
        (_, said) => said.to_owned(),
    }
}

#[derive(Deserialize)]
struct Message {
    message: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    errors: Vec<Problem>,
}

/// One entry of `errors`: an object or a bare string.
struct Problem(String);

/// `errors` is a list of objects, of strings, or a string; never worth losing the message for.
fn lenient<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Problem>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let entries = match value {
        serde_json::Value::Array(entries) => entries,
        other => vec![other],
    };
    Ok(entries.iter().filter_map(problem).take(5).collect())
}

fn problem(entry: &serde_json::Value) -> Option<Problem> {
    if let Some(text) = entry.as_str() {
        return Some(Problem(text.to_owned()));
    }
    let field = |name: &str| entry.get(name).and_then(serde_json::Value::as_str);
    match (field("message"), field("field"), field("code")) {
        (Some(message), ..) => Some(Problem(message.to_owned())),
        (None, Some(field), Some(code)) => Some(Problem(format!("{field}: {code}"))),
        (None, None, Some(code)) => Some(Problem(code.to_owned())),
        (None, ..) => None,
    }
}

/// What the body says: GitHub's message with its details, or the beginning of whatever else it is.
fn said(body: &[u8]) -> String {
    if let Ok(Message {
        message: Some(message),
        errors,
    }) = serde_json::from_slice(body)
    {
        let details: Vec<String> = errors.into_iter().map(|Problem(text)| text).collect();
        return match details.is_empty() {
            true => one_line(&message),
            false => one_line(&format!("{message} ({})", details.join("; "))),
        };
    }
    let start = &body[..body.len().min(2000)];
    one_line(&String::from_utf8_lossy(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn read(status: u16, headers: &[(&str, &str)], body: &str) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().expect("a name");
            map.insert(name, value.parse().expect("a value"));
        }
        let call = Call::get("/x");
        let status = StatusCode::from_u16(status).expect("a status");
        let refusal = classify(&call, status, &map, body.as_bytes(), NOW);
        assert_eq!(
            refusal.error.detail().status,
            Some(status.as_u16()),
            "the status survives any body"
        );
        match refusal.error {
            GithubError::NotFound { .. } => "not found".to_owned(),
            GithubError::Refused { sentence, .. } => format!("refused: {sentence}"),
            GithubError::RateLimited { until, .. } => format!("limited: {} s", (until.0 - NOW.0) / 1000),
            GithubError::Transient { .. } => match refusal.wait {
                Some(wait) => format!("transient, after {} s", wait.as_secs()),
                None => "transient".to_owned(),
            },
            GithubError::Unexpected { .. } => "unexpected".to_owned(),
        }
    }

    #[test]
    fn answers_are_classified_by_what_to_do() {
        let html = "<!DOCTYPE html>\n<html><head><title>Unicorn! &middot; GitHub</title></head></html>";
        let not_found = r#"{"message":"Not Found","documentation_url":"https://docs.github.com/rest","status":"404"}"#;
        let secondary = r#"{"documentation_url":"https://docs.github.com/","message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}"#;
        let primary = r#"{"message":"API rate limit exceeded for installation ID 1.","documentation_url":"x"}"#;
        let invalid = r#"{"message":"Validation Failed","errors":[{"resource":"IssueComment","code":"unprocessable","field":"data","message":"Body is too long (maximum is 65536 characters)"}]}"#;
        let strings = r#"{"message":"Invalid request.","errors":["No commit found for SHA: 1", 7, null]}"#;
        let plain = r#"{"message":"Resource not accessible by integration"}"#;
        let none: &[(&str, &str)] = &[];
        type Row<'a> = (u16, &'a [(&'a str, &'a str)], &'a str, &'a str);
        let table: Vec<Row<'_>> = vec![
            (502, none, html, "transient"),
            (503, &[("retry-after", "7")], html, "transient, after 7 s"),
            (500, none, "", "transient"),
            (408, none, "{}", "transient"),
            (404, none, not_found, "not found"),
            (404, none, html, "not found"),
            (
                410,
                none,
                r#"{"message":"Issues are disabled for this repo"}"#,
                "not found",
            ),
            (403, none, secondary, "limited: 60 s"),
            (403, &[("retry-after", "30")], secondary, "limited: 30 s"),
            (429, none, html, "limited: 60 s"),
            (429, &[("retry-after", "99999999")], "", "limited: 7200 s"),
            (
                403,
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000090")],
                primary,
                "limited: 91 s",
            ),
            (
                403,
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")],
                primary,
                "limited: 1 s",
            ),
            (
                403,
                &[("x-ratelimit-remaining", "12"), ("x-ratelimit-reset", "1700000090")],
                plain,
                "refused: the App lacks a permission for this (an owner must accept its permissions in the installation's settings)",
            ),
            (
                401,
                none,
                r#"{"message":"Bad credentials"}"#,
                "refused: it does not accept the App's credentials (check the App's id, its private key and the server's clock)",
            ),
            (
                422,
                none,
                invalid,
                "refused: Validation Failed (Body is too long (maximum is 65536 characters))",
            ),
            (
                422,
                none,
                strings,
                "refused: Invalid request. (No commit found for SHA: 1)",
            ),
            (
                409,
                none,
                r#"{"message":"Git Repository is empty."}"#,
                "refused: Git Repository is empty.",
            ),
            (403, none, "", "refused: status 403"),
            (400, none, r#"{"message":"Problems parsing JSON"}"#, "unexpected"),
            (300, none, "", "unexpected"),
        ];
        for (status, headers, body, expected) in table {
            assert_eq!(read(status, headers, body), expected, "{status} {headers:?} {body}");
        }
    }

    #[test]
    fn what_the_log_keeps_is_one_short_line() {
        let body = format!("<html>\n\r\n{}\u{1b}[31m", "x ".repeat(5000));
        let said = said(body.as_bytes());
        assert!(said.starts_with("<html> x x"));
        assert!(
            said.chars().count() <= 300 && !said.contains(['\n', '\u{1b}']),
            "{said}"
        );
    }
}

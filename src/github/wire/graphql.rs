//! Owns the reading of a GraphQL answer: its errors come with status 200.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::github::error::{Detail, GithubError, one_line};
use crate::github::wire::Reply;

#[derive(Deserialize)]
struct Answer<T> {
    data: Option<T>,
    #[serde(default)]
    errors: Vec<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: Option<String>,
    message: Option<String>,
}

impl Reply {
    /// Reads `data`. Where GitHub gives errors beside it, the first says what to do; half an answer is none.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, GithubError> {
        let Answer { data, errors } = self.json()?;
        match (errors.first(), data) {
            (None, Some(data)) => Ok(data),
            (None, None) => Err(self.unreadable("a GraphQL answer without data")),
            (Some(problem), _) => Err(self.problem(problem)),
        }
    }

    fn problem(&self, problem: &Problem) -> GithubError {
        let said = one_line(problem.message.as_deref().unwrap_or("no message"));
        let detail: Box<Detail> = Box::new(Detail {
            status: Some(200),
            said: said.clone(),
            ..self.unreadable("").detail().clone()
        });
        match problem.kind.as_deref() {
            Some("NOT_FOUND") => GithubError::NotFound { detail },
            Some("FORBIDDEN" | "INSUFFICIENT_SCOPES") => GithubError::Refused { sentence: said, detail },
            // The allowance of GraphQL is its own; the headers of this very answer say until when.
            Some("RATE_LIMITED" | "RATE_LIMIT") => GithubError::RateLimited {
                until: self.limit_ends(),
                detail,
            },
            // `Something went wrong while executing your query. This may be the result of a timeout …`
            None if said.starts_with("Something went wrong") => GithubError::Transient { detail },
            None | Some(_) => GithubError::Unexpected { detail },
        }
    }
}

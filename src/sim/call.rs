//! Owns one API request and its answer: who asks, what for, and how a refusal looks.

use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::state::{Role, World};

/// Who is asking.
#[derive(Clone, Debug)]
pub enum Actor {
    Nobody,
    /// With the App's own JWT.
    App(u64),
    /// With an installation token.
    Installation {
        token: String,
        app: u64,
        installation: u64,
    },
    User(String),
}

impl Actor {
    pub fn name(&self) -> &'static str {
        match self {
            Actor::Nobody => "nobody",
            Actor::App(_) => "app",
            Actor::Installation { .. } => "installation",
            Actor::User(_) => "user",
        }
    }
}

/// A request to the API, its path without `/api/v3`.
pub struct Call {
    pub method: String,
    pub path: String,
    pub segments: Vec<String>,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Value,
    pub actor: Actor,
}

/// How much of a permission an endpoint wants from an App.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Read,
    Write,
}

/// What an endpoint asks: any of these permissions of an App, this role of a person.
pub struct Need {
    pub any_of: &'static [&'static str],
    pub level: Level,
    pub role: Role,
}

impl Need {
    pub const fn read(any_of: &'static [&'static str]) -> Need {
        Need {
            any_of,
            level: Level::Read,
            role: Role::Read,
        }
    }

    pub const fn write(any_of: &'static [&'static str], role: Role) -> Need {
        Need {
            any_of,
            level: Level::Write,
            role,
        }
    }
}

pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub headers: Vec<(&'static str, String)>,
}

/// An expected "no", in GitHub's words.
#[derive(Debug, thiserror::Error)]
#[error("{status}: {message}")]
pub struct Refused {
    pub status: u16,
    pub message: String,
    pub errors: Option<Value>,
}

pub type Answered = Result<Answer, Refused>;

pub fn ok(body: Value) -> Answered {
    Ok(Answer {
        status: 200,
        body,
        headers: Vec::new(),
    })
}

pub fn created(body: Value) -> Answered {
    Ok(Answer {
        status: 201,
        body,
        headers: Vec::new(),
    })
}

pub fn empty(status: u16) -> Answered {
    Ok(Answer {
        status,
        body: Value::Null,
        headers: Vec::new(),
    })
}

impl Refused {
    pub fn new(status: u16, message: impl Into<String>) -> Refused {
        Refused {
            status,
            message: message.into(),
            errors: None,
        }
    }

    pub fn not_found() -> Refused {
        Refused::new(404, "Not Found")
    }

    /// 422 with one entry in `errors`.
    pub fn invalid(resource: &str, field: &str, code: &str, message: &str) -> Refused {
        let mut error = json!({"resource": resource, "field": field, "code": code});
        if !message.is_empty() {
            error["message"] = json!(message);
        }
        Refused {
            status: 422,
            message: "Validation Failed".into(),
            errors: Some(json!([error])),
        }
    }

    /// 422 in the words of GitHub's JSON schema check.
    pub fn schema(message: impl Into<String>) -> Refused {
        Refused::new(422, format!("Invalid request.\n\n{}", message.into()))
    }

    pub fn body(&self) -> Value {
        let mut body = json!({"message": self.message});
        if let Some(errors) = &self.errors {
            body["errors"] = errors.clone();
        }
        body["documentation_url"] = json!("https://docs.github.com/rest");
        body["status"] = json!(self.status.to_string());
        body
    }
}

impl From<super::git::GitError> for Refused {
    fn from(error: super::git::GitError) -> Refused {
        Refused::new(500, format!("the simulator's git failed: {error}"))
    }
}

impl Call {
    pub fn route(&self) -> (&str, Vec<&str>) {
        (self.method.as_str(), self.segments.iter().map(String::as_str).collect())
    }

    pub fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A field that must be a string.
    pub fn text(&self, field: &str) -> Result<String, Refused> {
        match &self.body[field] {
            Value::String(text) => Ok(text.clone()),
            Value::Null => Err(Refused::schema(format!("\"{field}\" wasn't supplied."))),
            other => Err(Refused::schema(format!(
                "For 'properties/{field}', {other} is not a string."
            ))),
        }
    }

    /// A field that may be absent or null.
    pub fn maybe_text(&self, field: &str) -> Result<Option<String>, Refused> {
        match &self.body[field] {
            Value::Null => Ok(None),
            _ => self.text(field).map(Some),
        }
    }

    /// A number in the path.
    pub fn number(&self, text: &str) -> Result<u64, Refused> {
        text.parse().map_err(|_| Refused::not_found())
    }

    /// The login that what this call writes is written by.
    pub fn writer(&self, world: &World) -> Result<String, Refused> {
        match &self.actor {
            Actor::Nobody => Err(Refused::new(401, "Requires authentication")),
            Actor::App(app) | Actor::Installation { app, .. } => Ok(world.app_by_id(*app).bot()),
            Actor::User(login) => Ok(login.clone()),
        }
    }

    pub fn app(&self) -> Option<u64> {
        match self.actor {
            Actor::App(app) | Actor::Installation { app, .. } => Some(app),
            Actor::Nobody | Actor::User(_) => None,
        }
    }

    /// One page of a list, with its `Link` header.
    pub fn page(&self, world: &World, items: Vec<Value>) -> Answered {
        let (slice, links) = self.slice(world, items);
        Ok(Answer {
            status: 200,
            body: Value::Array(slice),
            headers: links,
        })
    }

    /// One page of a list inside an object: `{"total_count": …, field: […]}`.
    pub fn page_in(&self, world: &World, field: &str, items: Vec<Value>) -> Answered {
        let total = items.len();
        let (slice, links) = self.slice(world, items);
        Ok(Answer {
            status: 200,
            body: json!({"total_count": total, field: slice}),
            headers: links,
        })
    }

    fn slice(&self, world: &World, items: Vec<Value>) -> (Vec<Value>, Vec<(&'static str, String)>) {
        let size: usize = self
            .query("per_page")
            .and_then(|n| n.parse().ok())
            .unwrap_or(30)
            .clamp(1, 100);
        let page: usize = self.query("page").and_then(|n| n.parse().ok()).unwrap_or(1).max(1);
        let last = items.len().div_ceil(size).max(1);
        let link = |number: usize, rel: &str| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            for (key, value) in self.query.iter().filter(|(key, _)| key != "page") {
                query.append_pair(key, value);
            }
            query.append_pair("page", &number.to_string());
            format!("<{}/api/v3{}?{}>; rel=\"{rel}\"", world.url, self.path, query.finish())
        };
        let mut links = Vec::new();
        if page > 1 {
            links.push(link(page - 1, "prev"));
        }
        if page < last {
            links.push(link(page + 1, "next"));
            links.push(link(last, "last"));
        }
        if page > 1 {
            links.push(link(1, "first"));
        }
        let slice = items.into_iter().skip((page - 1) * size).take(size).collect();
        let links = if links.is_empty() {
            Vec::new()
        } else {
            vec![("link", links.join(", "))]
        };
        (slice, links)
    }
}

/// The repository of a path, if the caller may do this to it; what may not be seen is not found.
pub fn reach(world: &World, call: &Call, owner: &str, name: &str, need: &Need) -> Result<u64, Refused> {
    let id = world.repo_id(owner, name).ok_or_else(Refused::not_found)?;
    allowed(world, call, id, need)?;
    Ok(id)
}

fn allowed(world: &World, call: &Call, id: u64, need: &Need) -> Result<(), Refused> {
    let repo = world.repo(id);
    match &call.actor {
        Actor::Nobody if repo.private => Err(Refused::not_found()),
        Actor::Nobody if need.level == Level::Write => Err(Refused::new(401, "Requires authentication")),
        Actor::Nobody => Ok(()),
        Actor::App(_) => Err(Refused::new(403, "Resource not accessible by integration")),
        Actor::User(login) => {
            let role = world.role(id, login);
            match role {
                Role::None => Err(Refused::not_found()),
                _ if role < need.role => Err(Refused::new(403, "Must have write access to the repository.")),
                _ => Ok(()),
            }
        }
        Actor::Installation { token, app, .. } => {
            let token = world
                .tokens
                .get(token)
                .ok_or_else(|| Refused::new(401, "Bad credentials"))?;
            let covers = world
                .installation_for(*app, id)
                .is_some_and(|i| i.id == token.installation)
                && token.repositories.as_ref().is_none_or(|some| some.contains(&id));
            if !covers && (repo.private || need.level == Level::Write) {
                return Err(if repo.private {
                    Refused::not_found()
                } else {
                    Refused::new(403, "Resource not accessible by integration")
                });
            }
            let granted = need
                .any_of
                .iter()
                .any(|name| match token.permissions.get(*name).map(String::as_str) {
                    Some("admin" | "write") => true,
                    Some("read") => need.level == Level::Read,
                    _ => *name == "metadata" && need.level == Level::Read,
                });
            if granted || (!repo.private && !covers) {
                Ok(())
            } else {
                Err(Refused::new(403, "Resource not accessible by integration"))
            }
        }
    }
}

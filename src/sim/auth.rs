//! Owns who may come in: the App's JWT, installation tokens, people's tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::call::{Actor, Answered, Call, Need, Refused, created, empty, ok, reach};
use super::shape;
use super::state::{App, Installation, Kind, Token, World};

/// A private key as GitHub hands it out (PKCS#1 in PEM) and its public half. Made once: it takes a while.
pub fn key() -> (String, Vec<u8>) {
    static KEY: OnceLock<(String, Vec<u8>)> = OnceLock::new();
    KEY.get_or_init(|| {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("the crypto library makes keys");
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).expect("a fresh key can be written");
        // PKCS#8 is a header of 26 bytes around PKCS#1, for an RSA key of this size.
        let text = STANDARD.encode(&der.as_ref()[26..]);
        let lines: Vec<&str> = (0..text.len())
            .step_by(64)
            .map(|at| &text[at..text.len().min(at + 64)])
            .collect();
        let pem = format!(
            "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n",
            lines.join("\n")
        );
        (pem, pair.public_key().as_ref().to_vec())
    })
    .clone()
}

/// Who sends these headers.
pub fn identify(world: &World, headers: &HeaderMap) -> Result<Actor, Refused> {
    let Some(value) = headers.get("authorization") else {
        return Ok(Actor::Nobody);
    };
    let value = value.to_str().map_err(|_| bad_credentials())?;
    let (scheme, rest) = value.split_once(' ').ok_or_else(bad_credentials)?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" if rest.matches('.').count() == 2 => app_by_jwt(world, rest.trim()),
        "bearer" | "token" => by_token(world, rest.trim()),
        "basic" => {
            let decoded = STANDARD.decode(rest.trim()).map_err(|_| bad_credentials())?;
            let text = String::from_utf8_lossy(&decoded).into_owned();
            let (user, password) = text.split_once(':').unwrap_or((&text, ""));
            by_token(
                world,
                if password.is_empty() || password == "x-oauth-basic" {
                    user
                } else {
                    password
                },
            )
        }
        _ => Err(bad_credentials()),
    }
}

fn bad_credentials() -> Refused {
    Refused::new(401, "Bad credentials")
}

fn by_token(world: &World, token: &str) -> Result<Actor, Refused> {
    if let Some(user) = world
        .users
        .values()
        .find(|user| user.token == token && user.kind == Kind::User)
    {
        return Ok(Actor::User(user.login.clone()));
    }
    let found = world
        .tokens
        .get(token)
        .filter(|t| t.expires > world.now())
        .ok_or_else(bad_credentials)?;
    let installation = world
        .installations
        .get(&found.installation)
        .ok_or_else(bad_credentials)?;
    if installation.suspended.is_some() {
        return Err(Refused::new(403, "This installation has been suspended"));
    }
    Ok(Actor::Installation {
        token: token.to_owned(),
        app: installation.app,
        installation: installation.id,
    })
}

/// The rules of GitHub: RS256, `iat` not in the future, `exp` at most ten minutes away, `iss` the App.
fn app_by_jwt(world: &World, token: &str) -> Result<Actor, Refused> {
    let unreadable = || Refused::new(401, "A JSON web token could not be decoded");
    let mut rules = Validation::new(Algorithm::RS256);
    // The times are judged below, by the simulator's clock.
    rules.validate_exp = false;
    rules.required_spec_claims.clear();
    let app = [&world.app, &world.other_app].into_iter().find_map(|app| {
        let key = DecodingKey::from_rsa_der(&app.public_key);
        let claims = jsonwebtoken::decode::<Value>(token, &key, &rules).ok()?.claims;
        let issuer = match &claims["iss"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        (issuer == app.id.to_string() || issuer == app.client_id).then_some((app.id, claims))
    });
    let (app, claims) = app.ok_or_else(unreadable)?;
    let now = world.now().as_second();
    let issued = claims["iat"].as_i64().ok_or_else(|| {
        Refused::new(
            401,
            "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
        )
    })?;
    let numeric = "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires";
    let expires = claims["exp"]
        .as_i64()
        .filter(|exp| *exp > now)
        .ok_or_else(|| Refused::new(401, numeric))?;
    if expires > now + 600 {
        return Err(Refused::new(
            401,
            "'Expiration time' claim ('exp') is too far in the future",
        ));
    }
    if issued > now + 30 {
        return Err(Refused::new(
            401,
            "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
        ));
    }
    Ok(Actor::App(app))
}

/// `/app…`, `/installation…`
pub fn route(world: &mut World, call: &Call) -> Option<Answered> {
    let (method, path) = call.route();
    Some(match (method, &path[..]) {
        ("GET", ["app"]) => only_the_app(call).and_then(|app| {
            let mut body = shape::app(world, world.app_by_id(app));
            body["installations_count"] = json!(world.installations.values().filter(|i| i.app == app).count());
            ok(body)
        }),
        ("GET", ["app", "installations"]) => only_the_app(call).and_then(|app| {
            let all = world.installations.values().filter(|i| i.app == app);
            call.page(world, all.map(|i| shape::installation(world, i)).collect())
        }),
        ("GET", ["app", "installations", id]) => {
            own_installation(world, call, id).and_then(|i| ok(shape::installation(world, i)))
        }
        ("POST", ["app", "installations", id, "access_tokens"]) => new_token(world, call, id),
        ("GET", ["repos", owner, name, "installation"]) => only_the_app(call).and_then(|app| {
            let repo = world.repo_id(owner, name).ok_or_else(Refused::not_found)?;
            let found = world.installation_for(app, repo).ok_or_else(Refused::not_found)?;
            ok(shape::installation(world, found))
        }),
        ("GET", ["orgs" | "users", account, "installation"]) => only_the_app(call).and_then(|app| {
            let found = world
                .installations
                .values()
                .find(|i| i.app == app && i.account.eq_ignore_ascii_case(account));
            ok(shape::installation(world, found.ok_or_else(Refused::not_found)?))
        }),
        ("GET", ["installation", "repositories"]) => repositories(world, call),
        ("DELETE", ["installation", "token"]) => {
            if let Actor::Installation { token, .. } = &call.actor {
                world.tokens.remove(token);
            }
            empty(204)
        }
        ("GET", ["repositories", id]) => by_id(world, call, id),
        _ => return None,
    })
}

fn only_the_app(call: &Call) -> Result<u64, Refused> {
    match call.actor {
        Actor::App(app) => Ok(app),
        _ => Err(Refused::new(401, "A JSON web token could not be decoded")),
    }
}

fn own_installation<'w>(world: &'w World, call: &Call, id: &str) -> Result<&'w Installation, Refused> {
    let app = only_the_app(call)?;
    let id = call.number(id)?;
    world
        .installations
        .get(&id)
        .filter(|i| i.app == app)
        .ok_or_else(Refused::not_found)
}

fn by_id(world: &World, call: &Call, id: &str) -> Answered {
    let id = call.number(id)?;
    let repo = world.repos.get(&id).ok_or_else(Refused::not_found)?;
    reach(world, call, &repo.owner, &repo.name, &Need::read(&["metadata"]))?;
    ok(shape::full_repo(world, repo))
}

/// The repositories a token covers.
fn covered(world: &World, installation: u64, narrowed: Option<&BTreeSet<u64>>) -> Vec<u64> {
    let all = world.repos.values().filter(|repo| {
        let owner = world.installations.get(&installation).is_some_and(|i| {
            i.account.eq_ignore_ascii_case(&repo.owner)
                && i.repositories.as_ref().is_none_or(|some| some.contains(&repo.id))
        });
        owner && narrowed.is_none_or(|some| some.contains(&repo.id))
    });
    all.map(|repo| repo.id).collect()
}

fn repositories(world: &World, call: &Call) -> Answered {
    let Actor::Installation {
        token, installation, ..
    } = &call.actor
    else {
        return Err(Refused::new(
            403,
            "You must authenticate with an installation access token in order to list repositories for an installation.",
        ));
    };
    let narrowed = world.tokens.get(token).and_then(|t| t.repositories.as_ref());
    let repos = covered(world, *installation, narrowed)
        .into_iter()
        .map(|id| shape::repo(world, world.repo(id)));
    let mut answer = call.page_in(world, "repositories", repos.collect())?;
    answer.body["repository_selection"] = json!("all");
    Ok(answer)
}

fn new_token(world: &mut World, call: &Call, id: &str) -> Answered {
    let installation = own_installation(world, call, id)?.clone();
    if installation.suspended.is_some() {
        return Err(Refused::new(403, "This installation has been suspended"));
    }
    let permissions = narrowed_permissions(&installation, &call.body["permissions"])?;
    let repositories = narrowed_repositories(world, &installation, &call.body)?;
    let expires = world.now() + SignedDuration::from_hours(1);
    let token = format!(
        "ghs_{}{}",
        uuid::Uuid::now_v7().simple(),
        &uuid::Uuid::now_v7().simple().to_string()[24..28]
    );
    let mut body = json!({
        "token": token, "expires_at": shape::time(expires), "permissions": permissions,
        "repository_selection": if repositories.is_none() && installation.repositories.is_none() { "all" } else { "selected" },
    });
    if let Some(some) = &repositories {
        body["repositories"] = some.iter().map(|id| shape::repo(world, world.repo(*id))).collect();
    }
    world.tokens.insert(
        token,
        Token {
            installation: installation.id,
            expires,
            permissions,
            repositories,
        },
    );
    created(body)
}

fn narrowed_permissions(installation: &Installation, asked: &Value) -> Result<BTreeMap<String, String>, Refused> {
    let Value::Object(asked) = asked else {
        return Ok(installation.permissions.clone());
    };
    let strength = |level: Option<&str>| match level {
        Some("admin") => 3,
        Some("write") => 2,
        Some("read") => 1,
        _ => 0,
    };
    let mut permissions = BTreeMap::new();
    for (name, level) in asked {
        let granted = installation.permissions.get(name).map(String::as_str);
        if strength(level.as_str()) == 0 || strength(level.as_str()) > strength(granted) {
            return Err(Refused::new(
                422,
                "The permissions requested are not granted to this installation.",
            ));
        }
        permissions.insert(name.clone(), level.as_str().unwrap_or_default().to_owned());
    }
    permissions
        .entry("metadata".to_owned())
        .or_insert_with(|| "read".to_owned());
    Ok(permissions)
}

fn narrowed_repositories(
    world: &World,
    installation: &Installation,
    body: &Value,
) -> Result<Option<BTreeSet<u64>>, Refused> {
    let all = covered(world, installation.id, None);
    let missing = || {
        Refused::new(
            422,
            "There is at least one repository that does not exist or is not accessible to the parent installation.",
        )
    };
    let mut some = BTreeSet::new();
    for name in body["repositories"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        let id = world
            .repo_id(&installation.account, name)
            .filter(|id| all.contains(id))
            .ok_or_else(missing)?;
        some.insert(id);
    }
    for id in body["repository_ids"].as_array().into_iter().flatten() {
        some.insert(id.as_u64().filter(|id| all.contains(id)).ok_or_else(missing)?);
    }
    let asked = body["repositories"].is_array() || body["repository_ids"].is_array();
    Ok(asked.then_some(some))
}

/// The App under test, and another one for checks that are not its own.
pub fn apps(
    now: Timestamp,
    first_id: u64,
    slug: &str,
    owner: &str,
    secret: String,
    permissions: BTreeMap<String, String>,
    events: Vec<String>,
) -> (App, App) {
    let (private_key_pem, public_key) = key();
    let app = App {
        id: first_id,
        slug: slug.to_owned(),
        client_id: format!("Iv23li{first_id:014}"),
        owner: owner.to_owned(),
        events,
        permissions,
        webhook_secret: secret,
        private_key_pem,
        public_key,
        created: now,
    };
    let other = App {
        id: first_id + 1,
        slug: "other-ci".to_owned(),
        client_id: format!("Iv23li{:014}", first_id + 1),
        events: Vec::new(),
        ..app.clone()
    };
    (app, other)
}

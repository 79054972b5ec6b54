//! Owns what every page shares: the frame, avatars, times, forms' pieces.

use crate::sim::shape;
use crate::sim::state::{Kind, World};
use jiff::Timestamp;

/// Text as it may stand in HTML and in attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

/// A whole page around its content.
pub fn page(title: &str, crumbs: &str, content: &str) -> String {
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><link rel=\"icon\" href=\"data:,\">\
         <style>{}</style></head><body><div class=\"top\">{crumbs}<span class=\"hint\">a simulated GitHub</span></div>\
         <div class=\"page\">{content}</div><script>{}</script></body></html>",
        escape(title),
        include_str!("style.css"),
        include_str!("live.js"),
    )
}

/// owner / name at the top.
pub fn crumbs(owner: &str, name: &str, private: bool) -> String {
    let (owner, name) = (escape(owner), escape(name));
    format!(
        "<a href=\"/\">{owner}</a><span class=\"sep\">/</span><b><a href=\"/{owner}/{name}/pulls\">{name}</a></b>\
         <span class=\"pill\">{}</span>",
        if private { "Private" } else { "Public" }
    )
}

pub fn avatar(world: &World, login: &str, small: bool) -> String {
    const COLOURS: [&str; 8] = [
        "#0969da", "#1a7f37", "#9a6700", "#8250df", "#bf3989", "#bc4c00", "#1b7c83", "#59636e",
    ];
    let pick = login
        .bytes()
        .fold(7usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    let bot = world.user(login).is_some_and(|user| user.kind == Kind::Bot);
    let letter = login
        .chars()
        .next()
        .map(|c| c.to_uppercase().to_string())
        .unwrap_or_default();
    format!(
        "<span class=\"avatar{}{}\" style=\"background:{}\">{}</span>",
        if bot { " bot" } else { "" },
        if small { " small" } else { "" },
        if bot { "#24292f" } else { COLOURS[pick % COLOURS.len()] },
        escape(&letter)
    )
}

/// A login, with a bot marked as one.
pub fn login(world: &World, login: &str) -> String {
    let bot = world.user(login).is_some_and(|user| user.kind == Kind::Bot);
    let name = escape(login.trim_end_matches("[bot]"));
    if bot {
        format!("<b>{name}</b> <span class=\"pill\">bot</span>")
    } else {
        format!("<b>{name}</b>")
    }
}

pub fn time(at: Timestamp) -> String {
    format!(
        "<time datetime=\"{}\">{}</time>",
        shape::time(at),
        at.strftime("%b %d, %H:%M UTC")
    )
}

/// Who acts: the people of a repository, one chosen.
pub fn actors(world: &World, repo: u64, chosen: &str) -> String {
    let mut people: Vec<_> = world.users.values().filter(|user| user.is_person()).collect();
    people.sort_by_key(|user| std::cmp::Reverse(world.role(repo, &user.login)));
    let options = people.iter().map(|user| {
        let selected = if user.login == chosen { " selected" } else { "" };
        let role = world.role(repo, &user.login).name();
        format!(
            "<option value=\"{0}\"{selected}>{0} ({role})</option>",
            escape(&user.login)
        )
    });
    format!(
        "<label>as <select name=\"as\">{}</select></label>",
        options.collect::<String>()
    )
}

pub fn short(sha: &str) -> &str {
    sha.get(..7).unwrap_or(sha)
}

//! What the admin port answers: the commands of Java's AdminServer, and probes beside them.
//!
//! The caller finds out which command is meant, collects what [`Command::needs`] names, and sends
//! what [`answer`] makes of it. `snapshot` and `restore` are work of the caller's; what they say is
//! here. Bodies are made whole: all but a snapshot are small.
//!
//! Modules: `command` (which there are), `json` (how Java prints it).

mod command;
mod json;
mod render;
#[cfg(test)]
mod tests;

pub use command::Command;
pub use json::Json;

use crate::status::Status;

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The code.
    pub status: u16,
    /// What the body is; `None` for the list of links, as in Java.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: String,
}

/// What is said to a member without a role. (ref: Commands.runCommand)
pub const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// Why a caller is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no header `Authorization`.
    Missing,
    /// Its scheme is unknown, or what follows it is wrong.
    NotAuthenticated,
    /// The root's list does not give all permissions.
    NotAuthorized,
}

/// What became of a command that is more than an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `admin.snapshot.enabled` or `admin.restore.enabled` is false.
    Disabled,
    /// It comes too soon after the last one.
    TooSoon,
    /// It was tried and did not succeed.
    Failed(String),
    /// It is not for a server such as this one.
    NotHere(&'static str),
    /// The state is another one now.
    Restored {
        /// Its last transaction.
        zxid: i64,
    },
    /// The snapshot is in its directory, and nobody wants to have it.
    Taken,
}

/// The page with a link for each command. (ref: JettyAdminServer.commandLinks)
pub fn index(url: &str) -> Response {
    let link = |c: &Command| format!("<a href=\"{url}/{name}\">{name}</a>\n<br/>\n", name = c.name());
    Response { status: 200, content_type: None, body: Command::ALL.iter().map(link).collect() }
}

/// The answer to a command; `asked` is the name that the caller used.
pub fn answer(command: Command, asked: &str, trace_mask: Option<&str>, status: &Status) -> Response {
    match &status.serving {
        None if command.needs_server() => not_serving(asked),
        serving => {
            let entries = render::entries(command, trace_mask, status, serving.as_ref());
            response(200, command.name(), entries)
        }
    }
}

/// The answer to a name that is none.
pub fn unknown(asked: &str) -> Response {
    failed(200, asked, &format!("Unknown command: {asked}"))
}

/// The answer of a member without a role.
pub fn not_serving(asked: &str) -> Response {
    failed(200, asked, NOT_SERVING)
}

/// The answer to a command by the wrong method.
///
/// differs: Java stumbles over it and answers 500.
pub fn wrong_method(asked: &str) -> Response {
    failed(405, asked, "The command is not for this method")
}

/// The answer to a caller who may not.
pub fn refused(asked: &str, refusal: Refusal) -> Response {
    match refusal {
        Refusal::Missing => failed(401, asked, "Auth info is missing for the command"),
        Refusal::NotAuthenticated => failed(401, asked, "Not authenticated"),
        Refusal::NotAuthorized => failed(403, asked, "Not authorized"),
    }
}

/// The answer to `snapshot` and `restore` where it is no stream.
///
/// differs: Java's error is always null, and its log has the reason.
pub fn outcome(command: Command, outcome: &Outcome) -> Response {
    let with = |error: &str| vec![error_entry(error)];
    let (status, entries) = match outcome {
        Outcome::Disabled => (503, with("The command is disabled")),
        Outcome::TooSoon => (429, with("The command was rate limited")),
        Outcome::Failed(why) => (500, with(why)),
        Outcome::NotHere(why) => (409, with(why)),
        Outcome::Restored { zxid } => (200, vec![("last_zxid".to_owned(), (*zxid).into())]),
        Outcome::Taken => (200, Vec::new()),
    };
    response(status, command.name(), entries)
}

/// A probe's answer: what it says is in the code, and the body tells why.
pub fn probe(good: bool, why: &str) -> Response {
    let status = if good { 200 } else { 503 };
    Response { status, content_type: Some("text/plain; charset=utf-8"), body: format!("{why}\n") }
}

/// There is nothing at this path.
pub fn not_found() -> Response {
    let body = "not found\n".to_owned();
    Response { status: 404, content_type: Some("text/plain; charset=utf-8"), body }
}

/// A method that no path has. (ref: JettyAdminServer.constrainTraceMethod, HttpServlet.service)
pub fn method_not_allowed(method: &str) -> Response {
    let status = match method {
        "TRACE" => 403,
        "PUT" | "DELETE" => 405,
        _ => 501,
    };
    Response { status, content_type: None, body: String::new() }
}

fn failed(status: u16, asked: &str, error: &str) -> Response {
    response(status, asked, vec![("command".to_owned(), asked.into()), error_entry(error)])
}

fn error_entry(error: &str) -> (String, Json) {
    ("error".to_owned(), error.into())
}

/// Every answer has the keys `command` and `error`, behind the others unless the command has put
/// them there itself. (ref: CommandResponse.toMap)
fn response(status: u16, command: &str, mut entries: Vec<(String, Json)>) -> Response {
    for (key, value) in [("command", command.into()), ("error", Json::Null)] {
        if entries.iter().all(|(k, _)| k != key) {
            entries.push((key.to_owned(), value));
        }
    }
    let body = Json::Object(entries).print();
    Response { status, content_type: Some("application/json"), body }
}

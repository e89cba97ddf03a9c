//! The admin port and the page of Prometheus: HTTP on a thread of its own. What is said is
//! `zk-admin`'s, what it is said of is collected by `collect`.
//!
//! It listens from before the data is read, as Java's does, so that probes see a process that
//! starts. Requests are few, and whoever asks for something large waits for it alone.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{
    ALLOW, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, STRICT_TRANSPORT_SECURITY,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::LocalSet;
use zk_admin::http::{self, Command, Outcome, Refusal};
use zk_admin::{Needs, Status, monitor, prometheus};
use zk_config::config::Config;
use zk_proto::{AuthId, Perms};

use crate::collect::{self, Wants};
use crate::core_loop::Control;
use crate::meters::Meters;
use crate::server::StartError;
use crate::shared::{Serving, Shared, address_identity};
use crate::tls::{AdminPort, AdminStream};
use crate::worker::ToWorker;
use crate::{accept, backup, clock, limits};

/// The thread that answers.
#[derive(Debug)]
pub struct AdminServer {
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    /// Nobody listens without one.
    thread: Option<JoinHandle<()>>,
}

/// What requests need to know.
#[derive(Debug)]
struct State {
    /// There once the data is read.
    server: OnceLock<Arc<Shared>>,
    meters: Arc<Meters>,
    command_url: String,
    idle: Duration,
    process_metrics: bool,
    snapshot: Limited,
    restore: Limited,
}

/// A command that may be off, and that comes once in an interval.
#[derive(Debug)]
struct Limited {
    enabled: bool,
    interval: Duration,
    last: Mutex<Option<Instant>>,
}

impl Limited {
    fn new(enabled: bool, interval: Duration) -> Self {
        Self { enabled, interval, last: Mutex::new(None) }
    }

    /// ref: RateLimiter.allow.
    fn allow(&self) -> bool {
        let mut last = self.last.lock();
        let allowed = last.is_none_or(|at| at.elapsed() > self.interval);
        if allowed {
            *last = Some(Instant::now());
        }
        allowed
    }
}

/// Which port a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Admin,
    Prometheus,
}

/// A connection's surroundings.
#[derive(Debug, Clone, Copy)]
struct Caller {
    door: Door,
    peer: SocketAddr,
    /// It speaks TLS.
    secure: bool,
}

impl AdminServer {
    /// Opens the ports that are wanted. Without the admin port a server runs all the same, as in
    /// Java, and without the page of Prometheus it does not.
    pub fn start(config: &Config, meters: Arc<Meters>) -> Result<Self, StartError> {
        let admin = &config.admin;
        let interval = admin.rate_limit;
        let state = Arc::new(State {
            server: OnceLock::new(),
            meters,
            command_url: admin.command_url.trim_end_matches('/').to_owned(),
            idle: admin.idle_timeout,
            process_metrics: admin.process_metrics,
            // Java means ms and takes microseconds, and scripts live with that.
            snapshot: Limited::new(admin.snapshot, interval / 1000),
            restore: Limited::new(admin.restore, interval),
        });
        let mut doors = Vec::new();
        if admin.server {
            match open(admin) {
                Ok((listener, tls)) => doors.push((Door::Admin, listener, tls)),
                Err(why) => tracing::warn!("no admin port, {why}"),
            }
        }
        if let Some(address) = &admin.prometheus {
            let failed = |source| StartError::Listen { address: address.to_string(), source };
            doors.push((Door::Prometheus, accept::listen(address, None).map_err(failed)?, None));
        }
        if doors.is_empty() {
            return Ok(Self { state, stop: None, thread: None });
        }
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("admin".to_owned());
        let thread = thread
            .spawn(move || run(&shared, doors, stopped))
            .map_err(|source| StartError::System { what: "start a thread", source })?;
        Ok(Self { state, stop: Some(stop), thread: Some(thread) })
    }

    /// The data has been read.
    pub fn serve(&self, shared: Arc<Shared>) {
        self.state.server.set(shared).expect("a server starts once");
    }

    /// Closes everything.
    pub fn stop(self) {
        drop(self.stop);
        if let Some(thread) = self.thread {
            thread.join().expect("a panic aborts the process");
        }
    }
}

/// A port, with its TLS if it has that.
type Opened = (TcpListener, Option<Arc<AdminPort>>);

/// TLS of the admin port, if it has that; an error says why there is no such port.
pub fn tls(admin: &zk_config::config::Admin) -> Result<Option<Arc<AdminPort>>, String> {
    let tls = admin.tls.as_ref().map(AdminPort::load).transpose();
    tls.map_err(|e| format!("it cannot have TLS: {e}"))
}

/// The admin port; an error says why there is none.
fn open(admin: &zk_config::config::Admin) -> Result<Opened, String> {
    let tls = tls(admin)?;
    let listener = accept::listen(&admin.address, None);
    let listener = listener.map_err(|e| format!("{} cannot be listened on: {e}", admin.address))?;
    Ok((listener, tls))
}

fn run(
    state: &Arc<State>,
    doors: Vec<(Door, TcpListener, Option<Arc<AdminPort>>)>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("admin-files")
        .build()
        .expect("a runtime needs nothing but descriptors, which were raised at the start");
    let local = LocalSet::new();
    for (door, listener, tls) in doors {
        if let Some(tls) = &tls {
            local.spawn_local(Arc::clone(tls).watch());
        }
        local.spawn_local(accept_all(Arc::clone(state), door, listener, tls));
    }
    // The sender is dropped to end this.
    let _ = local.block_on(&runtime, stopped);
    drop(local);
    runtime.shutdown_timeout(limits::STOP_WAIT);
}

async fn accept_all(state: Arc<State>, door: Door, listener: TcpListener, tls: Option<Arc<AdminPort>>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(e) => return tracing::error!("cannot watch the admin port: {e}"),
    };
    let places = Arc::new(Semaphore::new(limits::ADMIN_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (state, tls) = (Arc::clone(&state), tls.clone());
                tokio::task::spawn_local(async move {
                    serve_connection(state, door, stream, peer, tls).await;
                    drop(place);
                });
            }
            Err(e) => {
                tracing::warn!("cannot accept a connection of the admin port: {e}");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(
    state: Arc<State>,
    door: Door,
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<AdminPort>>,
) {
    // Whoever takes nothing of an answer for so long has gone.
    if let Err(e) = SockRef::from(&stream).set_tcp_user_timeout(Some(state.idle)) {
        tracing::debug!(%peer, "no time-out of an admin connection: {e}");
    }
    let stream = match tls {
        None => AdminStream::Plain(stream),
        Some(tls) => {
            let shake = tokio::time::timeout(state.idle, tls.accept(stream));
            let stream = match shake.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => stream,
                Err(e) => return tracing::debug!(%peer, "no TLS on the admin port: {e}"),
            };
            if matches!(stream, AdminStream::Plain(_)) {
                state.meters.admin.insecure.add(1);
            }
            stream
        }
    };
    match stream {
        AdminStream::Plain(stream) => serve_http(state, Caller { door, peer, secure: false }, stream).await,
        AdminStream::Tls(stream) => serve_http(state, Caller { door, peer, secure: true }, *stream).await,
    }
}

async fn serve_http(
    state: Arc<State>,
    caller: Caller,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) {
    let (idle, peer) = (state.idle, caller.peer);
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(Asked { state, caller }.answer(request).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(idle);
    if let Err(e) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%peer, "admin connection ended: {e}");
    }
}

type Answer = hyper::Response<Either<Full<Bytes>, Pieces>>;

/// A file on its way.
#[derive(Debug)]
struct Pieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.pieces.poll_recv(cx).map(|piece| {
            piece.map(|piece| {
                let piece = piece?;
                self.left = self.left.saturating_sub(piece.len() as u64);
                Ok(Frame::data(piece))
            })
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn respond(response: http::Response) -> Answer {
    let mut answer = hyper::Response::new(Either::Left(Full::new(Bytes::from(response.body))));
    *answer.status_mut() =
        hyper::StatusCode::from_u16(response.status).expect("answers have codes of three digits");
    if let Some(kind) = response.content_type {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    answer
}

/// Browsers come back with TLS only, for a day. (ref: JettyAdminServer.DEFAULT_STS_MAX_AGE)
const STRICT: &str = "max-age=86400; includeSubDomains";

/// A request's surroundings.
struct Asked {
    state: Arc<State>,
    caller: Caller,
}

impl Asked {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let mut answer = self.answer_plainly(request).await;
        if self.caller.secure {
            answer.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(STRICT));
        }
        answer
    }

    async fn answer_plainly(&self, request: Request<Incoming>) -> Answer {
        self.state.meters.admin.requests.add(1);
        let path = request.uri().path().to_owned();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if !reads && !matches!(*request.method(), Method::POST | Method::OPTIONS) {
            return respond(http::method_not_allowed(request.method().as_str()));
        }
        if path == "/metrics" && reads {
            return self.metrics().await;
        }
        if self.caller.door == Door::Prometheus {
            return respond(http::not_found());
        }
        match path.as_str() {
            "/handover" if *request.method() == Method::POST => respond(self.hand_over(&request).await),
            "/livez" | "/readyz" | "/startupz" if reads => respond(self.probe(&path).await),
            _ => match path.strip_prefix(self.state.command_url.as_str()) {
                Some("" | "/") => respond(http::index(&self.state.command_url)),
                Some(rest) if rest.starts_with('/') => self.command(&rest[1..], request).await,
                _ => respond(http::not_found()),
            },
        }
    }

    /// They tell the truth by status code, for Java's commands answer 200 whatever they say.
    async fn probe(&self, path: &str) -> http::Response {
        let Some(shared) = self.state.server.get() else {
            return http::probe(path == "/livez", "the data is being read");
        };
        if path == "/startupz" {
            return http::probe(true, "started");
        }
        let health = collect::health(shared).await;
        match path {
            "/livez" if health.alive => http::probe(true, "alive"),
            _ => http::probe(health.trouble().is_none(), health.trouble().unwrap_or("ready")),
        }
    }

    /// A leader lets another member lead and follows it; Java has no such command. Answered when it
    /// is so. The caller must be permitted as for a restore.
    async fn hand_over(&self, request: &Request<Incoming>) -> http::Response {
        let Some(shared) = self.state.server.get().filter(|s| s.serving() == Serving::Yes) else {
            return http::probe(false, "not serving");
        };
        if let Err(refused) = self.admit(shared, Command::Restore, "handover", request).await {
            return refused;
        }
        if collect::role(shared).await != Some(zk_node::Mode::Leading) {
            return http::text(409, "this member does not lead");
        }
        if shared.control.try_send(Control::HandOver).is_err() {
            return http::probe(false, "the core does not answer");
        }
        for _ in 0..limits::HAND_OVER_LOOKS {
            tokio::time::sleep(limits::HAND_OVER_LOOK).await;
            let role = collect::role(shared).await;
            if matches!(role, Some(zk_node::Mode::Following | zk_node::Mode::Observing)) {
                return http::text(200, "another member leads");
            }
        }
        http::probe(false, "no other member has taken over; the log says why")
    }

    async fn metrics(&self) -> Answer {
        let mut metrics = Vec::new();
        let mut own = Vec::new();
        if let Some(shared) = self.state.server.get() {
            let needs = Needs { metrics: true, ..Needs::default() };
            let serving = collect::serving(shared, needs, Wants::Anything).await.unwrap_or_default();
            let health = collect::health(shared).await;
            // Java has the gauges of a role only as long as there is one.
            metrics = match health.serving {
                true => monitor::metrics(&serving),
                false => serving.metrics,
            };
            own = collect::own(shared, health);
        }
        if self.state.process_metrics {
            own.extend(collect::process());
        }
        let mut answer = hyper::Response::new(Either::Left(Full::from(prometheus::page(&metrics, &own))));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(prometheus::CONTENT_TYPE));
        answer
    }

    async fn command(&self, name: &str, request: Request<Incoming>) -> Answer {
        if *request.method() == Method::OPTIONS {
            let mut answer = respond(http::Response { status: 200, content_type: None, body: String::new() });
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, OPTIONS"));
            return answer;
        }
        let Some(command) = Command::parse(name) else { return respond(http::unknown(name)) };
        let posts = *request.method() == Method::POST;
        let server =
            self.state.server.get().filter(|s| matches!(s.serving(), Serving::Yes | Serving::ReadOnly));
        let Some(shared) = server else {
            return respond(self.without_server(command, name, &request).await);
        };
        if command.needs_permission()
            && let Err(refused) = self.admit(shared, command, name, &request).await
        {
            return respond(refused);
        }
        if posts != (command == Command::Restore) {
            return respond(http::wrong_method(name));
        }
        let parameter = |key: &str| parameter(request.uri().query(), key);
        match command {
            Command::Snapshot => {
                let streaming = parameter("streaming").is_none_or(|s| s.eq_ignore_ascii_case("true"));
                self.snapshot(shared, streaming).await
            }
            Command::Restore => respond(self.restore(shared, request).await),
            _ => respond(self.read(shared, command, name, parameter("traceMask").as_deref()).await),
        }
    }

    /// What can be said before the data is read, and while there is no leader.
    async fn without_server(
        &self,
        command: Command,
        name: &str,
        request: &Request<Incoming>,
    ) -> http::Response {
        if command.needs_server() {
            return http::not_serving(name);
        }
        match self.state.server.get() {
            Some(shared) => {
                let mask = parameter(request.uri().query(), "traceMask");
                self.read(shared, command, name, mask.as_deref()).await
            }
            None => http::not_serving(name),
        }
    }

    async fn read(
        &self,
        shared: &Arc<Shared>,
        command: Command,
        name: &str,
        mask: Option<&str>,
    ) -> http::Response {
        match command {
            Command::ConnectionStatReset => collect::tell_all(shared, || ToWorker::ResetConnections),
            Command::StatReset => collect::tell_all(shared, || ToWorker::ResetServer),
            Command::SetTraceMask => {
                if let Some(mask) = mask.and_then(|text| text.parse().ok()) {
                    shared.trace_mask.store(mask, Ordering::Relaxed);
                }
            }
            _ => {}
        }
        let mut status = Status::not_serving(shared.settings.version.clone());
        status.trace_mask = shared.trace_mask.load(Ordering::Relaxed);
        if command.needs().environment {
            status.environment = collect::environment();
        }
        status.initial_configuration.clone_from(&shared.settings.initial_configuration);
        status.properties.clone_from(&shared.settings.properties);
        if matches!(shared.serving(), Serving::Yes | Serving::ReadOnly) {
            status.serving = collect::serving(shared, command.needs(), Wants::ARole).await;
        }
        http::answer(command, name, mask, &status)
    }

    /// Judges the caller; answers to wrong logins wait like those of clients.
    async fn admit(
        &self,
        shared: &Shared,
        command: Command,
        asked: &str,
        request: &Request<Incoming>,
    ) -> Result<(), http::Response> {
        let address = self.caller.peer.ip().to_canonical();
        if !shared.guard.admits(address, clock::mono()) {
            return Err(http::text(429, "too many logins of this address have failed"));
        }
        let judged = self.permitted(shared, command, request.headers().get(AUTHORIZATION));
        if judged.is_err_and(|refusal| refusal != Refusal::Missing) {
            let wait = shared.guard.failed(address, clock::mono());
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        judged.map_err(|refusal| http::refused(asked, refusal))
    }

    /// The caller must be known, and must have every permission on the root.
    ///
    /// differs: the header `X-Forwarded-For` is never believed. A restore replaces everything that
    /// there is: a root that is open to the whole world does not permit it.
    /// ref: Commands.handleAuthentication, handleAuthorization.
    fn permitted(
        &self,
        shared: &Shared,
        command: Command,
        header: Option<&HeaderValue>,
    ) -> Result<(), Refusal> {
        let header = header.ok_or(Refusal::Missing)?;
        let text = std::str::from_utf8(header.as_bytes()).map_err(|_| Refusal::NotAuthenticated)?;
        let (scheme, auth) = match text.trim_end_matches(' ').split_once(' ') {
            Some((_, auth)) if auth.contains(' ') => return Err(Refusal::NotAuthenticated),
            Some((scheme, auth)) => (scheme, Some(auth.as_bytes())),
            None => (text.trim_end_matches(' '), None),
        };
        let ids: Vec<AuthId> = match scheme {
            "ip" => vec![address_identity(self.caller.peer.ip().to_canonical())],
            _ => shared.policy.authenticate(scheme, auth).map_err(|_| Refusal::NotAuthenticated)?,
        };
        if ids.is_empty() {
            return Err(Refusal::NotAuthenticated);
        }
        let tree = shared.tree.read();
        let mut acl = tree.root().acl().to_vec();
        if command == Command::Restore && !shared.policy.skip_acl {
            acl.retain(|a| a.scheme != "world");
            if acl.is_empty() && ids.iter().all(|id| id.scheme != "super") {
                return Err(Refusal::NotAuthorized);
            }
        }
        let all = [Perms::READ, Perms::WRITE, Perms::CREATE, Perms::DELETE, Perms::ADMIN];
        match all.into_iter().all(|perms| shared.policy.allows(&acl, perms, &ids)) {
            true => Ok(()),
            false => Err(Refusal::NotAuthorized),
        }
    }

    /// ref: Commands.SnapshotCommand.
    async fn snapshot(&self, shared: &Arc<Shared>, streaming: bool) -> Answer {
        let (meters, limited) = (&self.state.meters.admin, &self.state.snapshot);
        let say = |outcome| respond(http::outcome(Command::Snapshot, &outcome));
        if !limited.enabled {
            return say(Outcome::Disabled);
        }
        if !limited.allow() {
            meters.snapshot_limited.add(1);
            return say(Outcome::TooSoon);
        }
        let begun = Instant::now();
        let taken = match backup::take(shared).await {
            Ok(taken) => taken,
            Err(why) => {
                meters.snapshot_errors.add(1);
                tracing::warn!("no snapshot for the admin port: {why}");
                return say(Outcome::Failed(why));
            }
        };
        meters.snapshot.time(begun.elapsed());
        let (size, zxid) = (taken.size, taken.zxid);
        let mut answer = match streaming {
            true => {
                let body = Pieces { pieces: taken.stream(), left: size };
                let mut answer = hyper::Response::new(Either::Right(body));
                let headers = answer.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
                headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
                answer
            }
            false => say(Outcome::Taken),
        };
        let zxid = HeaderValue::try_from(format!("0x{:x}", zxid.0)).expect("digits");
        answer.headers_mut().insert("last_zxid", zxid);
        answer.headers_mut().insert("snapshot_size", HeaderValue::from(size));
        answer
    }

    /// ref: Commands.RestoreCommand.
    async fn restore(&self, shared: &Arc<Shared>, request: Request<Incoming>) -> http::Response {
        let (meters, limited) = (&self.state.meters.admin, &self.state.restore);
        let say = |outcome| http::outcome(Command::Restore, &outcome);
        if !limited.enabled {
            return say(Outcome::Disabled);
        }
        if shared.ensemble {
            return say(Outcome::NotHere(
                "A member of an ensemble is not restored on its own: the others have another state. \
                 Stop all members, restore one of them, and let the others join it with empty directories",
            ));
        }
        if !limited.allow() {
            meters.restore_limited.add(1);
            return say(Outcome::TooSoon);
        }
        let begun = Instant::now();
        match backup::restore(shared, request.into_body()).await {
            Ok(zxid) => {
                meters.restore.time(begun.elapsed());
                say(Outcome::Restored { zxid: zxid.0 })
            }
            Err(why) => {
                meters.restore_errors.add(1);
                tracing::warn!("no restore by the admin port: {why}");
                say(Outcome::Failed(why))
            }
        }
    }
}

/// The first value of a parameter. Values here are numbers and words, which are never escaped.
fn parameter(query: Option<&str>, key: &str) -> Option<String> {
    let pairs = query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.into_iter().find(|(k, _)| *k == key).map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let query = Some("a=1&traceMask=5&traceMask=6&b");
        assert_eq!(parameter(query, "traceMask").as_deref(), Some("5"));
        assert_eq!(parameter(query, "b").as_deref(), Some(""));
        assert_eq!(parameter(query, "c"), None);
        assert_eq!(parameter(None, "c"), None);
    }

    #[test]
    fn once_in_an_interval() {
        let l = Limited::new(true, Duration::from_secs(3600));
        assert!(l.allow() && !l.allow());
        let l = Limited::new(true, Duration::from_millis(10));
        assert!(l.allow());
        std::thread::sleep(Duration::from_millis(20));
        assert!(l.allow());
    }
}

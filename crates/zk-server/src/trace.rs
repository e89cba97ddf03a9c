//! Spans for OpenTelemetry, sent to a collector by OTLP over HTTP. Behind the feature `otel`.
//!
//! A span is made when its end is known, from times that are taken for the metrics anyway, so a request
//! carries nothing along. There are three:
//!
//! - `create`, `setData` and so on: a request of a client that went through the core, from its frame to its reply.
//!   A read that waited for nobody has none.
//! - `commit`: what a leader proposed at once, from the proposal to its application.
//! - `election`: from the loss of a leader, or the start, to a leader.
//!
//! The trace of a write is a function of its zxid, and so is whether it is sampled: each member comes to the same by
//! itself, with nothing added to the protocol. The commit at the leader is a child of the request at
//! whichever member has it. A transaction that no client asked for is a commit with a parent that nobody tells of.
//!
//! The environment configures it, by OpenTelemetry's names: `OTEL_EXPORTER_OTLP_ENDPOINT`, without which
//! nothing is sent; `OTEL_TRACES_SAMPLER_ARG`, the part of the writes that is sampled (0.01);
//! `OTEL_SERVICE_NAME`, which is the ensemble's: the same for all members, and not that of another ensemble.

use std::borrow::Cow;
use std::future::{Future, ready};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, Key, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanProcessor as _};
use zk_config::Config;
use zk_proto::{OpCode, SessionId, Zxid};

/// How long the collector may take for each step.
const PATIENCE: Duration = Duration::from_secs(5);
/// The part of the writes that is sampled unless something else is said.
const USUAL_PART: f64 = 0.01;
/// What tells one use of a mixed number from another.
const LOWER: u64 = 0x6c6f_7765_7200_0001;
const ROOT: u64 = 0x726f_6f74_0000_0002;
const DECISION: u64 = 0x6465_6369_6465_0003;

/// The process has one collector.
static TRACER: OnceLock<Tracer> = OnceLock::new();

struct Tracer {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    /// What the traces of this ensemble have in common.
    salt: u64,
    /// Mixed numbers up to this one are sampled.
    sampled: u64,
}

/// Begins to send, if the environment names a collector. Whether it does. To be called once.
pub fn start(config: &Config) -> Result<bool, String> {
    let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let endpoint = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or(set("OTEL_EXPORTER_OTLP_ENDPOINT"));
    let Some(endpoint) = endpoint else { return Ok(false) };
    if !endpoint.starts_with("http://") {
        return Err(format!("spans go out by http://, not to {endpoint}"));
    }
    let part = match set("OTEL_TRACES_SAMPLER_ARG") {
        Some(text) => {
            part(&text).ok_or_else(|| format!("OTEL_TRACES_SAMPLER_ARG={text} is not within 0 and 1"))?
        }
        None => USUAL_PART,
    };
    let exporter = SpanExporter::builder().with_http().with_http_client(Collector::default()).build();
    let mut processor = BatchSpanProcessor::builder(exporter.map_err(|e| e.to_string())?).build();
    let resource = resource(config.ensemble.my_id);
    processor.set_resource(&resource);
    let name = resource.get(&SERVICE_NAME).map_or(Cow::default(), |n| n.as_str().into_owned().into());
    let tracer = Tracer {
        processor,
        scope: InstrumentationScope::builder("zkd").build(),
        salt: name.bytes().fold(0, |salt, byte| mix(salt ^ u64::from(byte))),
        sampled: (part * u64::MAX as f64) as u64,
    };
    TRACER.set(tracer).map_err(|_| "spans are sent already".to_owned())?;
    tracing::info!(endpoint, part, "spans go to a collector");
    Ok(true)
}

const SERVICE_NAME: Key = Key::from_static_str("service.name");

/// Who the spans are of.
fn resource(my_id: Option<i64>) -> Resource {
    let instance = my_id.map(|id| KeyValue::new("service.instance.id", id.to_string()));
    let found = Resource::builder().with_attributes(instance.clone()).build();
    match found.get(&SERVICE_NAME) {
        Some(name) if !name.as_str().starts_with("unknown_service") => found,
        _ => Resource::builder().with_service_name("zkd").with_attributes(instance).build(),
    }
}

fn part(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|part| (0.0..=1.0).contains(part))
}

/// Sends what is left.
pub fn stop() {
    if let Some(Err(e)) = TRACER.get().map(|t| t.processor.shutdown_with_timeout(PATIENCE)) {
        tracing::debug!("the last spans were not sent: {e}");
    }
}

/// A request was answered. `zxid` is the one of the reply.
pub fn request(op: OpCode, session: SessionId, zxid: i64, error: i32, took_micros: u64) {
    let Some(t) = TRACER.get() else { return };
    // A reply to a read has the zxid of what was seen last, which is another's.
    let ids = if op.is_write() { t.of(Zxid(zxid)) } else { t.by_chance() };
    let Some((trace, span)) = ids else { return };
    let status = if error == 0 { Status::Unset } else { Status::error(error.to_string()) };
    let attributes = vec![
        KeyValue::new("zookeeper.session", session.to_string()),
        KeyValue::new("zookeeper.zxid", Zxid(zxid).to_string()),
        KeyValue::new("zookeeper.error", i64::from(error)),
    ];
    t.end(
        Ended {
            name: op.name(),
            kind: SpanKind::Server,
            trace,
            span,
            parent: SpanId::INVALID,
            status,
            attributes,
        },
        took_micros,
    );
}

/// A leader has applied what it proposed at once, up to `last`.
pub fn commit(last: Zxid, took_micros: u64) {
    let Some(t) = TRACER.get() else { return };
    let Some((trace, parent)) = t.of(last) else { return };
    let span = SpanId::from(rand::random::<u64>());
    let zxid = KeyValue::new("zookeeper.zxid", last.to_string());
    t.end(Ended::own("commit", (trace, span, parent), zxid), took_micros);
}

/// The member knows its leader. `role` is its part now.
pub fn election(role: &str, took_micros: u64) {
    let Some(t) = TRACER.get() else { return };
    let (trace, span) = chance();
    let role = KeyValue::new("zookeeper.role", role.to_owned());
    t.end(Ended::own("election", (trace, span, SpanId::INVALID), role), took_micros);
}

struct Ended {
    name: &'static str,
    kind: SpanKind,
    trace: TraceId,
    span: SpanId,
    parent: SpanId,
    status: Status,
    attributes: Vec<KeyValue>,
}

impl Ended {
    /// What the server did by itself.
    fn own(name: &'static str, ids: (TraceId, SpanId, SpanId), attribute: KeyValue) -> Self {
        let (trace, span, parent) = ids;
        let (kind, status) = (SpanKind::Internal, Status::Unset);
        Self { name, kind, trace, span, parent, status, attributes: vec![attribute] }
    }
}

impl Tracer {
    /// Trace and root of a write, if it is sampled.
    fn of(&self, zxid: Zxid) -> Option<(TraceId, SpanId)> {
        let own = mix(self.salt ^ zxid.0.cast_unsigned());
        let trace = u128::from(own) << 64 | u128::from(mix(own ^ LOWER));
        (mix(own ^ DECISION) <= self.sampled).then(|| (TraceId::from(trace), SpanId::from(mix(own ^ ROOT))))
    }

    fn by_chance(&self) -> Option<(TraceId, SpanId)> {
        (rand::random::<u64>() <= self.sampled).then(chance)
    }

    /// Never waits: what the collector does not take in time is dropped.
    fn end(&self, ended: Ended, took_micros: u64) {
        let end_time = SystemTime::now();
        let took = Duration::from_micros(took_micros);
        let context = SpanContext::new(ended.trace, ended.span, TraceFlags::SAMPLED, false, TraceState::NONE);
        self.processor.on_end(SpanData {
            span_context: context,
            parent_span_id: ended.parent,
            parent_span_is_remote: ended.parent != SpanId::INVALID,
            span_kind: ended.kind,
            name: ended.name.into(),
            start_time: end_time.checked_sub(took).unwrap_or(end_time),
            end_time,
            attributes: ended.attributes,
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: ended.status,
            instrumentation_scope: self.scope.clone(),
        });
    }
}

fn chance() -> (TraceId, SpanId) {
    (TraceId::from(rand::random::<u128>()), SpanId::from(rand::random::<u64>()))
}

/// Spreads a number over all numbers, the same way everywhere (the last step of SplitMix64).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// What brings a batch to the collector: one connection, one request, on the thread that waits for batches.
/// There is no TLS: a collector stands beside the server, and it speaks TLS to those that stand elsewhere.
#[derive(Debug, Default)]
struct Collector {
    /// Whether the last batch was lost, which is said once.
    lost: AtomicBool,
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Collector {
    fn send_bytes<'life0, 'async_trait>(&'life0 self, request: Request<Bytes>) -> Sent<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let sent = send(&request);
        let bad = match &sent {
            Ok(200..=299) => None,
            Ok(status) => Some(format!("HTTP status {status}")),
            Err(e) => Some(e.to_string()),
        };
        let before = self.lost.swap(bad.is_some(), Ordering::Relaxed);
        if let (Some(why), false) = (bad, before) {
            tracing::warn!("the collector does not take spans: {why}");
        }
        Box::pin(ready(
            sent.map_err(HttpError::from)
                .and_then(|status| Ok(Response::builder().status(status).body(Bytes::new())?)),
        ))
    }
}

/// The status of the answer.
fn send(request: &Request<Bytes>) -> io::Result<u16> {
    let other = |what: &str| io::Error::other(what.to_owned());
    let uri = request.uri();
    let authority = uri.authority().ok_or_else(|| other("the endpoint has no host"))?;
    let host = authority.host().trim_matches(['[', ']']);
    let port = authority.port_u16().unwrap_or(80);
    let address = (host, port).to_socket_addrs()?.next().ok_or_else(|| other("the host has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut bytes =
        format!("POST {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n").into_bytes();
    for (name, value) in request.headers().iter().filter(|(n, _)| *n != "content-length" && *n != "host") {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(format!("content-length: {}\r\n\r\n", request.body().len()).into_bytes());
    bytes.extend_from_slice(request.body());
    stream.write_all(&bytes)?;
    let mut answer = Vec::new();
    stream.take(64).read_to_end(&mut answer)?;
    // HTTP/1.1 200 OK
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| other("the answer is no HTTP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(part: f64, salt: u64) -> Tracer {
        let exporter = SpanExporter::builder().with_http().with_http_client(Collector::default()).build();
        Tracer {
            processor: BatchSpanProcessor::builder(exporter.expect("an exporter")).build(),
            scope: InstrumentationScope::builder("zkd").build(),
            salt,
            sampled: (part * u64::MAX as f64) as u64,
        }
    }

    #[test]
    fn members_agree_on_traces_and_ensembles_do_not() {
        let (one, two, other) = (tracer(0.1, 7), tracer(0.1, 7), tracer(0.1, 8));
        let zxids = (1..20_000).map(|n| Zxid(0x5_0000_0000 + n));
        let seen: Vec<_> = zxids.clone().map(|z| one.of(z)).collect();
        assert_eq!(seen, zxids.clone().map(|z| two.of(z)).collect::<Vec<_>>());
        let sampled: Vec<_> = seen.iter().flatten().collect();
        assert!((1700..2300).contains(&sampled.len()), "{} of 20000", sampled.len());
        let traces: std::collections::BTreeSet<_> = sampled.iter().map(|(t, _)| t.to_string()).collect();
        assert_eq!(traces.len(), sampled.len());
        assert!(zxids.clone().filter_map(|z| other.of(z)).all(|(t, _)| !traces.contains(&t.to_string())));
        let (all, none) = (tracer(1.0, 7), tracer(0.0, 7));
        assert!(zxids.clone().all(|z| all.of(z).is_some()) && zxids.clone().all(|z| none.of(z).is_none()));
    }

    #[test]
    fn parts_are_within_0_and_1() {
        assert_eq!([part("0"), part(" 0.25 "), part("1")], [Some(0.0), Some(0.25), Some(1.0)]);
        assert_eq!([part("1.5"), part("-1"), part("NaN"), part("x")], [None; 4]);
    }
}

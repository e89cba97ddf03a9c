//! The page that Prometheus reads, in its text format 0.0.4.
//!
//! Families of Java's come first, in Java's forms: counters have no `_total`, a summary has the
//! quantiles that Java gives it, and the help is the name twice. (ref: PrometheusMetricsProvider)
//!
//! differs: labels end without a comma, and whole numbers have no `.0`; the format allows either.

use std::fmt::{Display, Write as _};

use crate::{
    monitor, names,
    status::{Metric, Own, OwnValue, Seen},
};

/// What the page is, for the header.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page. Values of one family stand side by side in `own`.
pub fn page(metrics: &[Metric], own: &[Own]) -> String {
    let mut page = Page { text: String::new(), family: "" };
    metrics.iter().for_each(|metric| page.metric(metric));
    own.iter().for_each(|own| page.own(own));
    page.text
}

struct Page {
    text: String,
    /// The one that was begun last: its head is printed once.
    family: &'static str,
}

impl Page {
    fn metric(&mut self, metric: &Metric) {
        match metric {
            Metric::Gauge { name, value } => {
                self.head(name, "gauge", name);
                self.line(name, "", &[], value);
            }
            Metric::Counter { name, value } => {
                self.head(name, "counter", name);
                self.line(name, "", &[], value);
            }
            Metric::Keyed { name, key, value } => {
                self.head(name, "gauge", name);
                self.line(name, "", &[("key", key)], value);
            }
            Metric::CounterSet { name, values } => {
                self.head(name, "counter", name);
                values.iter().for_each(|(key, value)| self.line(name, "", &[("key", key)], value));
            }
            Metric::Summary { name, seen, advanced } => {
                self.head(name, "summary", name);
                self.summary(name, None, seen, *advanced);
            }
            Metric::SummarySet { name, seen, advanced } => {
                self.head(name, "summary", name);
                seen.iter().for_each(|(key, seen)| self.summary(name, Some(("key", key)), seen, *advanced));
            }
        }
    }

    fn summary(&mut self, name: &str, label: Option<(&str, &str)>, seen: &Seen, advanced: bool) {
        for (quantile, value) in monitor::quantiles(seen, advanced) {
            let labels: Vec<_> = label.into_iter().chain([("quantile", quantile)]).collect();
            self.line(name, "", &labels, value);
        }
        let labels: Vec<_> = label.into_iter().collect();
        self.line(name, "_count", &labels, seen.count);
        self.line(name, "_sum", &labels, seen.sum);
    }

    fn own(&mut self, own: &Own) {
        let name = own.name;
        let help = names::help(name);
        let label = own.label.as_ref().map(|(key, value)| (*key, value.as_str()));
        let labels: Vec<_> = label.into_iter().collect();
        match &own.value {
            OwnValue::Counter(value) => {
                self.head(name, "counter", help);
                self.line(name, "", &labels, value);
            }
            OwnValue::Gauge(value) => {
                self.head(name, "gauge", help);
                self.line(name, "", &labels, value);
            }
            OwnValue::Histogram { buckets, sum, count } => {
                self.head(name, "histogram", help);
                for (bound, values) in buckets {
                    let bound = bound.to_string();
                    let labels: Vec<_> = label.into_iter().chain([("le", bound.as_str())]).collect();
                    self.line(name, "_bucket", &labels, values);
                }
                let all: Vec<_> = label.into_iter().chain([("le", "+Inf")]).collect();
                self.line(name, "_bucket", &all, count);
                self.line(name, "_sum", &labels, sum);
                self.line(name, "_count", &labels, count);
            }
        }
    }

    fn head(&mut self, name: &'static str, kind: &str, help: &str) {
        if self.family != name {
            self.family = name;
            writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a string takes all");
        }
    }

    fn line(&mut self, name: &str, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        for (i, (key, value)) in labels.iter().enumerate() {
            self.text.push(if i == 0 { '{' } else { ',' });
            write!(self.text, "{key}=\"{}\"", escaped(value)).expect("a string takes all");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        writeln!(self.text, " {value}").expect("a string takes all");
    }
}

/// A label's value: paths are made by clients.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::status::Number;

    #[test]
    fn forms() {
        let seen = Seen { min: 1, max: 9, count: 4, sum: 18, p50: 3, p90: 8, p95: 9, p99: 9, p999: 9 };
        let metrics = [
            Metric::Gauge { name: names::AVG_LATENCY, value: Number::Real(0.5) },
            Metric::Counter { name: names::LOOKING_COUNT, value: 2 },
            Metric::Keyed { name: names::QUOTA_COUNT_LIMIT_PER_NAMESPACE, key: "a\"\\\n".into(), value: 5 },
            Metric::Keyed { name: names::QUOTA_COUNT_LIMIT_PER_NAMESPACE, key: "b".into(), value: 6 },
            Metric::Summary { name: names::READLATENCY, seen, advanced: true },
            Metric::Summary { name: names::NODE_CREATED_WATCH_COUNT, seen: Seen::default(), advanced: false },
            Metric::CounterSet {
                name: names::QUOTA_EXCEEDED_ERROR_PER_NAMESPACE,
                values: vec![("app".into(), 2)],
            },
            Metric::SummarySet { name: names::ACK_LATENCY, seen: vec![("3".into(), seen)], advanced: true },
            Metric::SummarySet { name: names::LEARNER_HANDLER_QP_SIZE, seen: Vec::new(), advanced: false },
        ];
        let histogram = OwnValue::Histogram { buckets: vec![(0.001, 1), (0.5, 3)], sum: 1.25, count: 4 };
        let own = [
            Own { name: names::ZKD_SERVING, label: None, value: OwnValue::Gauge(1.0) },
            Own { name: names::ZKD_REQUEST_SECONDS, label: Some(("op", "ping".into())), value: histogram },
        ];
        expect![[r#"
            # HELP avg_latency avg_latency
            # TYPE avg_latency gauge
            avg_latency 0.5
            # HELP looking_count looking_count
            # TYPE looking_count counter
            looking_count 2
            # HELP quota_count_limit_per_namespace quota_count_limit_per_namespace
            # TYPE quota_count_limit_per_namespace gauge
            quota_count_limit_per_namespace{key="a\"\\\n"} 5
            quota_count_limit_per_namespace{key="b"} 6
            # HELP readlatency readlatency
            # TYPE readlatency summary
            readlatency{quantile="0.5"} 3
            readlatency{quantile="0.9"} 8
            readlatency{quantile="0.99"} 9
            readlatency_count 4
            readlatency_sum 18
            # HELP node_created_watch_count node_created_watch_count
            # TYPE node_created_watch_count summary
            node_created_watch_count{quantile="0.5"} NaN
            node_created_watch_count_count 0
            node_created_watch_count_sum 0
            # HELP quota_exceeded_error_per_namespace quota_exceeded_error_per_namespace
            # TYPE quota_exceeded_error_per_namespace counter
            quota_exceeded_error_per_namespace{key="app"} 2
            # HELP ack_latency ack_latency
            # TYPE ack_latency summary
            ack_latency{key="3",quantile="0.5"} 3
            ack_latency{key="3",quantile="0.9"} 8
            ack_latency{key="3",quantile="0.99"} 9
            ack_latency_count{key="3"} 4
            ack_latency_sum{key="3"} 18
            # HELP learner_handler_qp_size learner_handler_qp_size
            # TYPE learner_handler_qp_size summary
            # HELP zkd_serving 1 if clients are served.
            # TYPE zkd_serving gauge
            zkd_serving 1
            # HELP zkd_request_seconds Time of requests from their arrival to their reply.
            # TYPE zkd_request_seconds histogram
            zkd_request_seconds_bucket{op="ping",le="0.001"} 1
            zkd_request_seconds_bucket{op="ping",le="0.5"} 3
            zkd_request_seconds_bucket{op="ping",le="+Inf"} 4
            zkd_request_seconds_sum{op="ping"} 1.25
            zkd_request_seconds_count{op="ping"} 4
        "#]]
        .assert_eq(&page(&metrics, &own));
    }
}

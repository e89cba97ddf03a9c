//! The metrics of a server, one list for `mntr`, for its twin on the admin port, and for Prometheus.

use crate::{
    names,
    status::{LeaderGauges, Metric, Number, Seen, Serving},
};

/// All metrics that Java has too, in the order of a stand-alone server's answer; Java promises none.
pub fn metrics(serving: &Serving) -> Vec<Metric> {
    let gauges = &serving.gauges;
    let replies = &gauges.client_response_sizes;
    let mut list = vec![
        gauge(names::EPHEMERALS_COUNT, gauges.ephemerals),
        gauge(names::NUM_ALIVE_CONNECTIONS, serving.connections),
        gauge(names::AVG_LATENCY, serving.latency.average),
        gauge(names::OUTSTANDING_REQUESTS, serving.outstanding),
        gauge(names::ZNODE_COUNT, serving.node_count),
        gauge(names::GLOBAL_SESSIONS, gauges.global_sessions),
        gauge(names::NON_MTLS_REMOTE_CONN_COUNT, gauges.non_mtls_remote_connections),
        gauge(names::LAST_CLIENT_RESPONSE_SIZE, replies.last),
        gauge(names::PACKETS_SENT, serving.sent),
        gauge(names::PACKETS_RECEIVED, serving.received),
        gauge(names::MAX_CLIENT_RESPONSE_SIZE, replies.max),
        gauge(names::CONNECTION_DROP_PROBABILITY, gauges.connection_drop_probability),
        gauge(names::WATCH_COUNT, gauges.watches),
        gauge(names::AUTH_FAILED_COUNT, gauges.auth_failed),
        gauge(names::MIN_LATENCY, serving.latency.min),
        gauge(names::MAX_FILE_DESCRIPTOR_COUNT, gauges.max_file_descriptors),
        gauge(names::APPROXIMATE_DATA_SIZE, gauges.approximate_data_size),
        gauge(names::OPEN_FILE_DESCRIPTOR_COUNT, gauges.open_file_descriptors),
        gauge(names::LOCAL_SESSIONS, gauges.local_sessions),
        gauge(names::UPTIME, gauges.uptime),
        gauge(names::MAX_LATENCY, serving.latency.max),
        gauge(names::OUTSTANDING_TLS_HANDSHAKE, gauges.outstanding_tls_handshakes),
        gauge(names::MIN_CLIENT_RESPONSE_SIZE, replies.min),
        gauge(names::NON_MTLS_LOCAL_CONN_COUNT, gauges.non_mtls_local_connections),
    ];
    if let Some(member) = &gauges.member {
        list.push(gauge(names::QUORUM_SIZE, member.quorum_size));
        list.extend(member.synced_observers.map(|n| gauge(names::SYNCED_OBSERVERS, n)));
        list.extend(member.leader.as_ref().map(|l| leader(serving, l)).into_iter().flatten());
    }
    list.extend(serving.metrics.iter().cloned());
    list
}

/// (ref: LeaderZooKeeperServer.registerMetrics)
fn leader(serving: &Serving, leader: &LeaderGauges) -> [Metric; 8] {
    let sizes = &serving.proposal_sizes;
    [
        gauge(names::LEARNERS, leader.learners),
        gauge(names::SYNCED_FOLLOWERS, leader.synced_followers),
        gauge(names::SYNCED_NON_VOTING_FOLLOWERS, leader.synced_non_voting_followers),
        gauge(names::PENDING_SYNCS, leader.pending_syncs),
        gauge(names::LEADER_UPTIME, leader.uptime),
        gauge(names::LAST_PROPOSAL_SIZE, sizes.last),
        gauge(names::MAX_PROPOSAL_SIZE, sizes.max),
        gauge(names::MIN_PROPOSAL_SIZE, sizes.min),
    ]
}

fn gauge(name: &'static str, value: impl Into<Number>) -> Metric {
    Metric::Gauge { name, value: value.into() }
}

/// Names and values as the chosen provider of Java's prints them.
pub fn lines(serving: &Serving) -> Vec<(String, Number)> {
    let print = if serving.prometheus { with_labels } else { plain };
    let mut out = Vec::new();
    metrics(serving).iter().for_each(|metric| print(metric, &mut out));
    out
}

/// (ref: DefaultMetricsProvider.dump, AvgMinMaxPercentileCounter.values)
fn plain(metric: &Metric, out: &mut Vec<(String, Number)>) {
    match metric {
        Metric::Gauge { name, value } => out.push(((*name).to_owned(), *value)),
        Metric::Counter { name, value } => out.push(((*name).to_owned(), (*value).into())),
        Metric::Keyed { name, key, value } => out.push((format!("{key}_{name}"), (*value).into())),
        Metric::CounterSet { name, values } => {
            out.extend(values.iter().map(|(key, value)| (format!("{key}_{name}"), (*value).into())));
        }
        Metric::Summary { name, seen, advanced } => plain_summary(name, seen, *advanced, out),
        Metric::SummarySet { name, seen, advanced } => {
            for (key, seen) in seen {
                plain_summary(&format!("{key}_{name}"), seen, *advanced, out);
            }
        }
    }
}

fn plain_summary(name: &str, seen: &Seen, advanced: bool, out: &mut Vec<(String, Number)>) {
    let average = crate::java::average(seen.sum, seen.count);
    out.push((format!("avg_{name}"), average.into()));
    out.push((format!("min_{name}"), seen.min.into()));
    out.push((format!("max_{name}"), seen.max.into()));
    out.push((format!("cnt_{name}"), seen.count.into()));
    out.push((format!("sum_{name}"), seen.sum.into()));
    if advanced {
        for (label, value) in [("p50", seen.p50), ("p95", seen.p95), ("p99", seen.p99), ("p999", seen.p999)] {
            out.push((format!("{label}_{name}"), value.into()));
        }
    }
}

/// Every value is a double, and sets have a label. (ref: PrometheusMetricsProvider.dump)
fn with_labels(metric: &Metric, out: &mut Vec<(String, Number)>) {
    let real = |n: Number| Number::Real(n.as_f64());
    match metric {
        Metric::Gauge { name, value } => out.push(((*name).to_owned(), real(*value))),
        Metric::Counter { name, value } => out.push(((*name).to_owned(), real((*value).into()))),
        Metric::Keyed { name, key, value } => {
            out.push((format!("{name}{{key=\"{key}\"}}"), real((*value).into())));
        }
        Metric::CounterSet { name, values } => {
            for (key, value) in values {
                out.push((format!("{name}{{key=\"{key}\"}}"), real((*value).into())));
            }
        }
        Metric::Summary { name, seen, advanced } => {
            for (label, value) in quantiles(seen, *advanced) {
                out.push((format!("{name}{{quantile=\"{label}\"}}"), value.into()));
            }
            out.push((format!("{name}_count"), real(seen.count.into())));
            out.push((format!("{name}_sum"), real(seen.sum.into())));
        }
        Metric::SummarySet { name, seen, advanced } => {
            for (key, seen) in seen {
                for (label, value) in quantiles(seen, *advanced) {
                    out.push((format!("{name}{{key=\"{key}\",quantile=\"{label}\"}}"), value.into()));
                }
                out.push((format!("{name}_count{{key=\"{key}\"}}"), real(seen.count.into())));
                out.push((format!("{name}_sum{{key=\"{key}\"}}"), real(seen.sum.into())));
            }
        }
    }
}

/// The quantiles that Prometheus is given, by their label; not a number of nothing.
/// (ref: PrometheusMetricsProvider.PrometheusSummary)
pub fn quantiles(seen: &Seen, advanced: bool) -> Vec<(&'static str, f64)> {
    let all = [("0.5", seen.p50), ("0.9", seen.p90), ("0.99", seen.p99)];
    let wanted = if advanced { all.len() } else { 1 };
    let value = |n: i64| if seen.count == 0 { f64::NAN } else { n as f64 };
    all.into_iter().take(wanted).map(|(label, n)| (label, value(n))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(prometheus: bool, metrics: Vec<Metric>, expected: &[(&str, &str)]) {
        let serving = Serving { prometheus, metrics, ..Serving::default() };
        let lines = lines(&serving);
        let tail: Vec<_> =
            lines.iter().skip(24).map(|(name, value)| (name.as_str(), value.to_string())).collect();
        let tail: Vec<_> = tail.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(tail, expected);
    }

    fn some() -> Vec<Metric> {
        let seen = Seen { min: 1, max: 9, count: 4, sum: 18, p50: 3, p90: 9, p95: 9, p99: 9, p999: 9 };
        vec![
            Metric::Counter { name: "c", value: 7 },
            Metric::Keyed { name: "k", key: "a".into(), value: -1 },
            Metric::Summary { name: "s", seen, advanced: true },
            Metric::Summary { name: "b", seen: Seen::default(), advanced: false },
        ]
    }

    #[test]
    fn the_default_provider() {
        check(
            false,
            some(),
            &[
                ("c", "7"),
                ("a_k", "-1"),
                ("avg_s", "4.5"),
                ("min_s", "1"),
                ("max_s", "9"),
                ("cnt_s", "4"),
                ("sum_s", "18"),
                ("p50_s", "3"),
                ("p95_s", "9"),
                ("p99_s", "9"),
                ("p999_s", "9"),
                ("avg_b", "0.0"),
                ("min_b", "0"),
                ("max_b", "0"),
                ("cnt_b", "0"),
                ("sum_b", "0"),
            ],
        );
    }

    #[test]
    fn the_provider_for_prometheus() {
        check(
            true,
            some(),
            &[
                ("c", "7.0"),
                ("k{key=\"a\"}", "-1.0"),
                ("s{quantile=\"0.5\"}", "3.0"),
                ("s{quantile=\"0.9\"}", "9.0"),
                ("s{quantile=\"0.99\"}", "9.0"),
                ("s_count", "4.0"),
                ("s_sum", "18.0"),
                ("b{quantile=\"0.5\"}", "NaN"),
                ("b_count", "0.0"),
                ("b_sum", "0.0"),
            ],
        );
    }
}

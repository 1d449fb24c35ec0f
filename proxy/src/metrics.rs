use std::collections::BTreeSet;
use std::sync::Mutex;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};
use wire::Tally;

/// What `/metrics` shows. Names are documented in `docs/metrics.md`.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    pub(crate) connections: IntGauge,
    pub(crate) connections_total: IntCounter,
    pub(crate) from_client: Traffic,
    pub(crate) from_broker: Traffic,
    pub(crate) records: IntCounter,
    pub(crate) translated: IntCounter,
    pub(crate) unmapped: IntCounter,
    pub(crate) undecodable: IntCounter,
    /// By kind; see `wire::Error::kind`.
    pub(crate) decode_errors: IntCounterVec,
    pub(crate) rejected: IntCounter,
    pub(crate) resolved: IntCounter,
    pub(crate) unresolved: IntCounter,
    /// By topic.
    topic_translated: IntCounterVec,
    /// By topic.
    topic_unmapped: IntCounterVec,
    /// Topics that have a label of their own.
    labelled: Mutex<BTreeSet<String>>,
    /// By reason; see `connection::End`.
    pub(crate) failures: IntCounterVec,
    /// What frames of clients that were held whole waited for us.
    pub(crate) added_to_requests: Histogram,
    /// The same for brokers.
    pub(crate) added_to_responses: Histogram,
    pub(crate) inflight_bytes: IntGauge,
    pub(crate) id_map_ids: IntGauge,
    pub(crate) id_map_version: IntGauge,
    /// By result: `taken` or `refused`.
    pub(crate) id_map_reloads: IntCounterVec,
}

/// What one side sends.
#[derive(Debug)]
pub(crate) struct Traffic {
    frames: IntCounter,
    bytes: IntCounter,
}

impl Traffic {
    /// A frame, whose size does not count itself.
    pub(crate) fn count(&self, size: usize) {
        self.frames.inc();
        self.bytes.inc_by(4 + size as u64);
    }
}

/// What is counted of one topic.
#[derive(Debug, Clone)]
pub(crate) struct TopicCounters {
    translated: IntCounter,
    unmapped: IntCounter,
}

impl TopicCounters {
    pub(crate) fn count(&self, tally: &Tally) {
        self.translated.inc_by(tally.translated);
        self.unmapped.inc_by(tally.unmapped);
    }
}

/// Seconds: a frame of 900 kB takes tens of microseconds uncompressed, tens of milliseconds in gzip.
const LATENCIES: [f64; 12] =
    [10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 5e-3, 25e-3, 0.1, 0.5, 2.5];

/// Topics with a label of their own; the label of all others.
const MOST_TOPICS: usize = 500;
const OTHERS: &str = "(others)";

impl Metrics {
    /// The counters of a topic, to be looked up once for a connection.
    pub(crate) fn of_topic(&self, topic: &str) -> TopicCounters {
        let mut labelled = self.labelled.lock().expect("nothing panics while it holds the labels");
        let is_labelled = labelled.contains(topic)
            || (labelled.len() < MOST_TOPICS && labelled.insert(topic.to_owned()));
        let label = [if is_labelled { topic } else { OTHERS }];
        TopicCounters {
            translated: self.topic_translated.with_label_values(&label),
            unmapped: self.topic_unmapped.with_label_values(&label),
        }
    }

    pub(crate) fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| {
            let it = IntCounter::new(name, help)?;
            registry.register(Box::new(it.clone()))?;
            Ok::<_, prometheus::Error>(it)
        };
        let gauge = |name: &str, help: &str| {
            let it = IntGauge::new(name, help)?;
            registry.register(Box::new(it.clone()))?;
            Ok::<_, prometheus::Error>(it)
        };
        let family = |name: &str, help: &str, label: &str| {
            let it = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(it.clone()))?;
            Ok::<_, prometheus::Error>(it)
        };
        let added = HistogramVec::new(
            HistogramOpts::new(
                "schema_proxy_added_latency_seconds",
                "From the last byte of a frame that is looked into to its first byte on, by the side \
                 that sent it.",
            )
            .buckets(LATENCIES.to_vec()),
            &["side"],
        )?;
        registry.register(Box::new(added.clone()))?;
        let frames = family(
            "schema_proxy_frames_total",
            "Frames that passed, by the side that sent them.",
            "side",
        )?;
        let bytes = family(
            "schema_proxy_bytes_total",
            "Bytes of frames that passed, by the side that sent them.",
            "side",
        )?;
        let traffic = |side: &str| Traffic {
            frames: frames.with_label_values(&[side]),
            bytes: bytes.with_label_values(&[side]),
        };
        Ok(Self {
            connections: gauge("schema_proxy_connections", "Client connections that are open.")?,
            connections_total: counter(
                "schema_proxy_connections_total",
                "Client connections that were accepted.",
            )?,
            from_client: traffic("client"),
            from_broker: traffic("broker"),
            records: counter(
                "schema_proxy_records_total",
                "Records that were looked into for schema ids.",
            )?,
            translated: counter(
                "schema_proxy_ids_translated_total",
                "Schema ids that were replaced.",
            )?,
            unmapped: counter(
                "schema_proxy_ids_unmapped_total",
                "Schema ids that the id map lacks and that passed as they were.",
            )?,
            undecodable: counter(
                "schema_proxy_batches_undecodable_total",
                "Record batches that could not be read and passed as they were.",
            )?,
            decode_errors: family(
                "schema_proxy_decode_errors_total",
                "Partitions of requests and responses with a record batch that could not be read, by the \
                 kind of the first error.",
                "kind",
            )?,
            rejected: counter(
                "schema_proxy_batches_rejected_total",
                "Record batches that were kept from the broker, for an id that the id map lacks.",
            )?,
            resolved: counter(
                "schema_proxy_ids_resolved_total",
                "Schema ids that the id map lacked and that were found or registered in the target.",
            )?,
            unresolved: counter(
                "schema_proxy_ids_unresolved_total",
                "Times that a schema id could not be resolved.",
            )?,
            topic_translated: family(
                "schema_proxy_topic_ids_translated_total",
                "Schema ids that were replaced, by topic.",
                "topic",
            )?,
            topic_unmapped: family(
                "schema_proxy_topic_ids_unmapped_total",
                "Schema ids that the id map lacks and that passed as they were, by topic.",
                "topic",
            )?,
            labelled: Mutex::default(),
            failures: family(
                "schema_proxy_connection_failures_total",
                "Connections that ended other than by their client's wish, by reason.",
                "reason",
            )?,
            added_to_requests: added.with_label_values(&["client"]),
            added_to_responses: added.with_label_values(&["broker"]),
            inflight_bytes: gauge(
                "schema_proxy_inflight_bytes",
                "Room that frames take which are held whole.",
            )?,
            id_map_ids: gauge("schema_proxy_id_map_ids", "Schema ids in the id map.")?,
            id_map_version: gauge(
                "schema_proxy_id_map_version",
                "1 for the id map at the start, and one more for each that replaced it.",
            )?,
            id_map_reloads: family(
                "schema_proxy_id_map_reloads_total",
                "Id maps that were read after the first, by result.",
                "result",
            )?,
            registry,
        })
    }
}

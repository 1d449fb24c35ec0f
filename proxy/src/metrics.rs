use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// What `/metrics` shows. Names are documented in `docs/metrics.md`.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    pub(crate) connections: IntGauge,
    pub(crate) connections_total: IntCounter,
    /// By side: `client` or `broker`.
    pub(crate) frames: IntCounterVec,
    /// By side.
    pub(crate) bytes: IntCounterVec,
    pub(crate) records: IntCounter,
    pub(crate) translated: IntCounter,
    pub(crate) unmapped: IntCounter,
    pub(crate) undecodable: IntCounter,
    pub(crate) rejected: IntCounter,
    /// By reason; see `connection::End`.
    pub(crate) failures: IntCounterVec,
    pub(crate) id_map_ids: IntGauge,
    pub(crate) id_map_version: IntGauge,
    /// By result: `taken` or `refused`.
    pub(crate) id_map_reloads: IntCounterVec,
}

impl Metrics {
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
        Ok(Self {
            connections: gauge("schema_proxy_connections", "Client connections that are open.")?,
            connections_total: counter(
                "schema_proxy_connections_total",
                "Client connections that were accepted.",
            )?,
            frames: family(
                "schema_proxy_frames_total",
                "Frames that passed, by the side that sent them.",
                "side",
            )?,
            bytes: family(
                "schema_proxy_bytes_total",
                "Bytes of frames that passed, by the side that sent them.",
                "side",
            )?,
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
            rejected: counter(
                "schema_proxy_batches_rejected_total",
                "Record batches that were kept from the broker, for an id that the id map lacks.",
            )?,
            failures: family(
                "schema_proxy_connection_failures_total",
                "Connections that ended other than by their client's wish, by reason.",
                "reason",
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

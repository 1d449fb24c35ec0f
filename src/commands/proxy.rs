//! `schema-proxy`

use std::path::Path;
use std::time::Duration;

use ::proxy::{Proxy, Rewrite, Settings};
use app::{SettingsError, admin, shutdown};
use artifact::store::StoreError;
use wire::id_map::{DEFAULT_CONTEXT, MapFile};
use wire::translate::Parts;

use crate::exit::Failure;
use crate::open;
use crate::settings::proxy::ProxyFile;

/// Runs until SIGTERM or SIGINT, then drains.
pub async fn run(file: &Path) -> Result<(), Failure> {
    let settings: ProxyFile = app::settings::load(file)?;
    let map = load_map(&settings.id_map.file).await?;
    let ids = map.mapping.len();
    let proxy = Proxy::start(proxy_settings(file, &settings)?, map.id_map(DEFAULT_CONTEXT))
        .await
        .map_err(|why| Failure::Failed(why.to_string()))?;
    let address = settings.admin.listen;
    let listener = admin::bind(address)
        .await
        .map_err(|why| Failure::Failed(format!("can't listen on {address}: {why}")))?;
    let admin_address = listener.local_addr().unwrap_or(address);
    let serving = tokio::spawn(admin::serve(listener, proxy.admin()));
    tracing::info!(
        "clients bootstrap at {}, metrics are at http://{admin_address}/metrics, the map has {ids} ids",
        proxy.bootstrap()
    );
    let signal = shutdown::asked().await.map_err(|why| Failure::Failed(why.to_string()))?;
    tracing::info!("{signal}: no new connections, requests under way are answered");
    proxy.drain().await;
    serving.abort();
    Ok(())
}

/// Reads the file as a run would.
pub async fn check(file: &Path) -> Result<(), Failure> {
    let settings: ProxyFile = app::settings::load(file)?;
    proxy_settings(file, &settings)?;
    let map = load_map(&settings.id_map.file).await?;
    eprintln!("{}: no mistakes found, the map has {} ids", file.display(), map.mapping.len());
    Ok(())
}

fn proxy_settings(file: &Path, settings: &ProxyFile) -> Result<Settings, Failure> {
    let target = settings.target.bootstrap_servers.addresses();
    let target = target
        .map_err(|why| SettingsError::new(file, format!("target.bootstrap_servers: {why}")))?;
    let rewrite = &settings.rewrite;
    Ok(Settings {
        bootstrap: settings.listen.bootstrap,
        advertised_host: settings.listen.advertised_host.clone(),
        broker_port_base: settings.listen.broker_port_base,
        target,
        rewrite: Rewrite {
            produce: rewrite.produce,
            fetch: rewrite.fetch,
            parts: Parts { keys: rewrite.keys, values: rewrite.values },
        },
        max_frame_bytes: settings.limits.max_frame_bytes,
        max_decompressed_bytes: settings.limits.max_decompressed_bytes,
        drain_timeout: Duration::from_secs(settings.limits.drain_timeout_secs),
    })
}

async fn load_map(place: &str) -> Result<MapFile, Failure> {
    let (store, key) = match place.rsplit_once('/') {
        Some((folder, key)) if place.starts_with("s3://") => (open::store_at(folder).await?, key),
        _ => (open::store_at("").await?, place),
    };
    let bytes = store.get(key).await.map_err(|error| match error {
        StoreError::NotFound { .. } => Failure::Usage(format!("id map {place} does not exist")),
        StoreError::Failed { .. } => Failure::Failed(format!("id map: {error}")),
    })?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|why| Failure::Usage(format!("id map {place}: {why}")))?;
    MapFile::parse(text).map_err(|why| Failure::Usage(format!("id map {place}: {why}")))
}

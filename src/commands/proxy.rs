//! `schema-proxy`

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::proxy::{Certificates, MapSettings, Proxy, Rewrite, Rules, Settings, Treatment};
use app::{Selection, SettingsError, admin, shutdown};
use wire::translate::Parts;

use crate::exit::Failure;
use crate::open;
use crate::settings::proxy::{self as settings, ProxyFile};

/// Runs until SIGTERM or SIGINT, then drains.
pub async fn run(file: &Path) -> Result<(), Failure> {
    let settings: ProxyFile = app::settings::load(file)?;
    // Its mistakes are told as those of a file that the user wrote.
    open::map(&settings.id_map.file).await?;
    let map = MapSettings {
        source: Arc::new(open::MapObject::at(&settings.id_map.file).await?),
        context: settings.id_map.context.clone(),
        period: settings.id_map.reload_every.0,
    };
    let proxy = Proxy::start(proxy_settings(file, &settings)?, map)
        .await
        .map_err(|why| Failure::Failed(why.to_string()))?;
    let ids = proxy.ids();
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
    let signal = tokio::select! {
        signal = shutdown::asked() => signal.map_err(|why| Failure::Failed(why.to_string()))?,
        never = reload_on_hangup(&proxy) => match never {},
    };
    tracing::info!("{signal}: no new connections, requests under way are answered");
    proxy.drain().await;
    serving.abort();
    Ok(())
}

async fn reload_on_hangup(proxy: &Proxy) -> Infallible {
    while shutdown::hung_up().await.is_ok() {
        proxy.reload_map().await;
    }
    // Without signals there is nothing to wait for.
    std::future::pending().await
}

/// Reads the file as a run would.
pub async fn check(file: &Path) -> Result<(), Failure> {
    let settings: ProxyFile = app::settings::load(file)?;
    proxy_settings(file, &settings)?;
    let map = open::map(&settings.id_map.file).await?;
    eprintln!("{}: no mistakes found, the map has {} ids", file.display(), map.mapping.len());
    Ok(())
}

fn proxy_settings(file: &Path, settings: &ProxyFile) -> Result<Settings, Failure> {
    let target = settings.target.bootstrap_servers.addresses();
    let target = target
        .map_err(|why| SettingsError::new(file, format!("target.bootstrap_servers: {why}")))?;
    let security = open::security(&settings.target.security)
        .map_err(|why| SettingsError::new(file, format!("target.security: {why}")))?;
    let tls = settings.listen.tls.as_ref().map(|it| Certificates {
        certificate: it.certificate.clone(),
        key: it.key.clone(),
        client_ca: it.client_ca.clone(),
    });
    let rewrite = &settings.rewrite;
    Ok(Settings {
        bootstrap: settings.listen.bootstrap,
        advertised_host: settings.listen.advertised_host.clone(),
        broker_port_base: settings.listen.broker_port_base,
        tls,
        target,
        security,
        rewrite: Rewrite {
            produce: rewrite.produce,
            fetch: rewrite.fetch,
            rules: rules(rewrite).map(Arc::new).map_err(|why| SettingsError::new(file, why))?,
        },
        max_frame_bytes: settings.limits.max_frame_bytes,
        max_decompressed_bytes: settings.limits.max_decompressed_bytes,
        drain_timeout: Duration::from_secs(settings.limits.drain_timeout_secs),
    })
}

fn rules(rewrite: &settings::Rewrite) -> Result<Rules, String> {
    let select = |key: &str, topics: &[String]| {
        Selection::new(topics, &[]).map_err(|why| format!("rewrite.{key}: {why}"))
    };
    let treatment = |keys, values, unmapped| Treatment {
        parts: Parts { keys, values },
        reject_unmapped: unmapped == settings::Unmapped::Reject,
    };
    let rules = rewrite.rules.iter().map(|it| {
        let done = treatment(
            it.keys.unwrap_or(rewrite.keys),
            it.values.unwrap_or(rewrite.values),
            it.unmapped.unwrap_or(rewrite.unmapped),
        );
        Ok((select("rules", &it.topics)?, done))
    });
    Ok(Rules {
        exclude: select("exclude", &rewrite.exclude)?,
        rules: rules.collect::<Result<_, String>>()?,
        otherwise: treatment(rewrite.keys, rewrite.values, rewrite.unmapped),
    })
}

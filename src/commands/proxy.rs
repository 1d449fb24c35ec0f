//! `schema-proxy`

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::proxy::{
    Certificates, EndOffsets, Fetch, MapSettings, OnUnmapped, Proxy, Reach, Registries, Rewrite,
    Rules, Settings, Treatment,
};
use ::restore::groups::Snapshot;
use app::admin::{self, Admin};
use app::{Selection, SettingsError, shutdown};
use async_trait::async_trait;
use kafka::login::Users;
use kafka::security::PasswordMechanism;
use prometheus::Registry;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use wire::id_map::{DEFAULT_CONTEXT, MapFile};
use wire::translate::Parts;

use crate::exit::Failure;
use crate::open::{self, MapPlace};
use crate::settings::job::Mechanism;
use crate::settings::proxy::{self as settings, IdMapFile, Listen, ProxyFile, Sasl, Way};

/// Runs until SIGTERM or SIGINT, then drains.
pub async fn run(file: &Path) -> Result<(), Failure> {
    let settings: ProxyFile = app::settings::load(file)?;
    let checked = proxy_settings(file, &settings)?;
    let place = map_place(&settings).await?;
    let address = settings.admin.listen;
    let cant_listen = |why| Failure::Failed(format!("can't listen on {address}: {why}"));
    let listener = admin::bind(address).await.map_err(cant_listen)?;
    let admin_address = listener.local_addr().unwrap_or(address);
    let token = settings.admin.token.as_ref().map(app::Secret::guarded);
    // Until then nothing may pass.
    let Some(first) = first_map(&settings, &place, &listener, token.clone()).await? else {
        return Ok(());
    };
    let map = MapSettings {
        source: Arc::new(place),
        first,
        contexts: contexts(&settings),
        period: settings.id_map.reload_every.0,
        both_ways: fetch(settings.rewrite.fetch) == Fetch::Reverse,
    };
    warn_of_open_doors(&settings);
    let proxy = Proxy::start(checked, map).await.map_err(|why| Failure::Failed(why.to_string()))?;
    let ids = proxy.ids();
    let listener = TcpListener::from_std(listener).map_err(cant_listen)?;
    let serving = tokio::spawn(admin::serve(listener, proxy.admin(), token));
    tracing::info!(
        "clients bootstrap at {}, metrics are at http://{admin_address}/metrics, the map has {ids} ids",
        proxy.bootstrap()
    );
    let signal = tokio::select! {
        signal = shutdown::asked() => signal.map_err(|why| Failure::Failed(why.to_string()))?,
        () = proxy.asked_to_drain() => "POST /drain",
        never = reload_on_hangup(&proxy) => match never {},
    };
    tracing::info!("{signal}: no new connections, requests under way are answered");
    proxy.drain().await;
    serving.abort();
    Ok(())
}

/// Settings that work, and let in more than their author may want.
fn warn_of_open_doors(settings: &ProxyFile) {
    let Listen { tls, sasl, .. } = &settings.listen;
    let asks_clients = sasl.is_some() || tls.as_ref().is_some_and(|it| it.client_ca.is_some());
    let shows_own = settings.target.security.sasl_mechanism.is_some()
        || settings.target.security.ssl_certificate_location.is_some();
    if shows_own && !asks_clients {
        tracing::warn!(
            "whoever reaches this proxy acts as its own user in the target: let in only some by \
             `listen.sasl` or `listen.tls.client_ca`"
        );
    }
    if tls.is_none() && sasl.as_ref().is_some_and(|it| it.mechanisms.contains(&Mechanism::Plain)) {
        tracing::warn!("clients show their passwords in the clear: PLAIN needs `listen.tls`");
    }
}

async fn reload_on_hangup(proxy: &Proxy) -> Infallible {
    let Ok(mut hang_ups) = shutdown::HangUps::listen() else {
        // Without signals there is nothing to wait for.
        return std::future::pending().await;
    };
    loop {
        hang_ups.next().await;
        proxy.reload_map().await;
    }
}

/// Reads the file as a run would.
pub async fn check(file: &Path) -> Result<(), Failure> {
    let settings: ProxyFile = app::settings::load(file)?;
    proxy_settings(file, &settings)?;
    let map = checked(&settings, map_place(&settings).await?.map().await?)?;
    eprintln!("{}: no mistakes found, the map has {} ids", file.display(), map.mapping.len());
    Ok(())
}

/// The first map. While it is not there or can't be reached, `/readyz` says so; its mistakes are those of
/// a file that the user wrote. `None` where the process is asked to stop first.
async fn first_map(
    settings: &ProxyFile,
    place: &MapPlace,
    listener: &std::net::TcpListener,
    token: Option<SecretString>,
) -> Result<Option<MapFile>, Failure> {
    // What is shown meanwhile, and who shows it until this returns.
    let mut waiting: Option<(Arc<NoMap>, JoinSet<()>)> = None;
    loop {
        let why = match place.read().await {
            Ok(text) => return checked(settings, place.parse(&text)?).map(Some),
            Err(why) => why.to_string(),
        };
        if let Some((shown, _)) = &waiting {
            shown.tell(why);
        } else {
            let listener = listener.try_clone().and_then(TcpListener::from_std);
            let listener = listener.map_err(|why| Failure::Failed(why.to_string()))?;
            let address = listener.local_addr().unwrap_or(settings.admin.listen);
            let shown =
                Arc::new(NoMap { metrics: Registry::new(), address, why: Mutex::default() });
            shown.tell(why);
            let serving =
                admin::serve(listener, Arc::clone(&shown) as Arc<dyn Admin>, token.clone());
            waiting = Some((shown, JoinSet::from_iter([serving])));
        }
        tokio::select! {
            signal = shutdown::asked() => {
                signal.map_err(|why| Failure::Failed(why.to_string()))?;
                return Ok(None);
            }
            () = tokio::time::sleep(settings.id_map.reload_every.0) => {}
        }
    }
}

/// What the admin port tells before there is a map.
struct NoMap {
    metrics: Registry,
    address: SocketAddr,
    why: Mutex<String>,
}

impl NoMap {
    fn tell(&self, why: String) {
        let mut told = self.why.lock().expect("nothing panics while it holds the reason");
        if *told != why {
            tracing::error!(
                "{why}; until it is there nothing passes, and http://{}/readyz says so",
                self.address
            );
            *told = why;
        }
    }
}

#[async_trait]
impl Admin for NoMap {
    fn metrics(&self) -> &Registry {
        &self.metrics
    }

    fn ready(&self) -> Result<String, String> {
        Err(self.why.lock().expect("nothing panics while it holds the reason").clone())
    }

    async fn answer(&self, _: &str, _: &str) -> Option<Result<String, String>> {
        None
    }
}

async fn map_place(settings: &ProxyFile) -> Result<MapPlace, Failure> {
    let IdMapFile { file, authorization, .. } = &settings.id_map;
    MapPlace::at(file, authorization.as_ref().map(app::Secret::guarded)).await
}

/// The map, if it can do what it is for.
fn checked(settings: &ProxyFile, map: MapFile) -> Result<MapFile, Failure> {
    let file = &settings.id_map.file;
    for context in contexts(settings) {
        if context != DEFAULT_CONTEXT && !map.contexts.contains_key(&context) {
            tracing::warn!("the id map {file} has no ids of context {context} yet");
        }
        if fetch(settings.rewrite.fetch) == Fetch::Reverse {
            map.id_map(&context).inverse().map_err(|why| {
                Failure::Usage(format!(
                    "id map {file}: {why}, so `fetch: reverse` could not tell which of them was meant"
                ))
            })?;
        }
    }
    Ok(map)
}

/// The contexts of the ids in the records; first the one where no rule says otherwise.
fn contexts(settings: &ProxyFile) -> Vec<String> {
    let mut all = vec![settings.id_map.context.clone()];
    for context in settings.rewrite.rules.iter().filter_map(|it| it.context.as_ref()) {
        if !all.contains(context) {
            all.push(context.clone());
        }
    }
    all
}

fn proxy_settings(file: &Path, settings: &ProxyFile) -> Result<Settings, Failure> {
    if !settings.admin.listen.ip().is_loopback() && settings.admin.token.is_none() {
        let why = "admin.token: the admin port is not on loopback, and lets others stop the proxy and \
                   see its map; give it a token";
        return Err(SettingsError::new(file, why).into());
    }
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
    let registries = match &settings.registries {
        Some(both) => Some(Registries {
            source: open::registry(file, &both.source)?,
            target: open::registry(file, &both.target)?,
        }),
        None => None,
    };
    let mut unmapped = rewrite.rules.iter().filter_map(|it| it.unmapped).chain([rewrite.unmapped]);
    if registries.is_none() && unmapped.any(|it| it == settings::Unmapped::Resolve) {
        let why =
            "`unmapped: resolve` needs `registries: { source: { url: … }, target: { url: … } }`";
        return Err(SettingsError::new(file, why).into());
    }
    Ok(Settings {
        registries,
        bootstrap: settings.listen.bootstrap,
        users: settings
            .listen
            .sasl
            .as_ref()
            .map(users)
            .transpose()
            .map_err(|why| SettingsError::new(file, format!("listen.sasl: {why}")))?,
        reach: reach(&settings.listen)
            .map_err(|why| SettingsError::new(file, format!("listen: {why}")))?,
        tls,
        target,
        security,
        rewrite: Rewrite {
            produce: rewrite.produce,
            fetch: fetch(rewrite.fetch),
            until: until(file, rewrite)?.map(Arc::new),
            rules: rules(rewrite, &contexts(settings))
                .map(Arc::new)
                .map_err(|why| SettingsError::new(file, why))?,
        },
        max_frame_bytes: settings.limits.max_frame_bytes,
        max_decompressed_bytes: settings.limits.max_decompressed_bytes,
        max_connections: settings.limits.max_connections,
        max_inflight_bytes: settings.limits.max_inflight_bytes,
        idle_timeout: match settings.limits.idle_timeout_secs {
            0 => Duration::MAX,
            seconds => Duration::from_secs(seconds),
        },
        drain_timeout: Duration::from_secs(settings.limits.drain_timeout_secs),
    })
}

fn users(sasl: &Sasl) -> Result<Users, String> {
    let mechanisms = sasl.mechanisms.iter().map(|it| match it {
        Mechanism::Plain => Ok(PasswordMechanism::Plain),
        Mechanism::ScramSha256 => Ok(PasswordMechanism::ScramSha256),
        Mechanism::ScramSha512 => Ok(PasswordMechanism::ScramSha512),
        Mechanism::OauthBearer => {
            Err("mechanisms: the proxy checks passwords, not tokens; leave `sasl` out and brokers \
                 check the tokens that clients show")
        }
    });
    let mechanisms = mechanisms.collect::<Result<Vec<_>, _>>()?;
    if mechanisms.is_empty() || sasl.users.is_empty() {
        return Err("it needs `mechanisms` and `users`, or nobody can come in".to_owned());
    }
    Users::new(mechanisms, sasl.users.iter().map(|(name, it)| (name.clone(), it.guarded())))
}

/// Keys that mean nothing in the mode are refused: whoever wrote them expects something else.
fn reach(listen: &Listen) -> Result<Reach, String> {
    use settings::Brokers::{PortPerBroker, Sni, Transparent};
    let given = [
        ("advertised_host", listen.advertised_host.is_some(), &[PortPerBroker, Sni][..]),
        ("broker_port_base", listen.broker_port_base.is_some(), &[PortPerBroker]),
        ("advertised_port_base", listen.advertised_port_base.is_some(), &[PortPerBroker]),
        ("advertised_port", listen.advertised_port.is_some(), &[Sni]),
    ];
    if let Some((key, ..)) = given.iter().find(|(_, is, of)| *is && !of.contains(&listen.brokers)) {
        return Err(format!("`{key}` has no meaning with this value of `brokers`"));
    }
    let missing = |key: &str| format!("`{key}` is missing");
    let host = || listen.advertised_host.clone().ok_or_else(|| missing("advertised_host"));
    match listen.brokers {
        PortPerBroker => Ok(Reach::Ports {
            host: host()?,
            base: listen.broker_port_base.ok_or_else(|| missing("broker_port_base"))?,
            advertised_base: listen.advertised_port_base,
        }),
        Sni if listen.tls.is_none() => {
            Err("`brokers: sni` needs `tls`, whose handshake has the server name".to_owned())
        }
        Sni => Ok(Reach::Names {
            names: host()?.parse().map_err(|why| format!("advertised_host: {why}"))?,
            advertised_port: listen.advertised_port,
        }),
        Transparent if cfg!(not(target_os = "linux")) => {
            Err("`brokers: transparent` is there on Linux alone".to_owned())
        }
        Transparent => Ok(Reach::Redirected),
    }
}

fn fetch(given: settings::Fetch) -> Fetch {
    match given {
        settings::Fetch::Switch(false) => Fetch::Off,
        settings::Fetch::Switch(true) | settings::Fetch::Way(Way::Forward) => Fetch::Forward,
        settings::Fetch::Way(Way::Reverse) => Fetch::Reverse,
    }
}

/// Where translation ends in what is read.
fn until(file: &Path, rewrite: &settings::Rewrite) -> Result<Option<EndOffsets>, Failure> {
    let Some(path) = &rewrite.until_offsets else { return Ok(None) };
    let wrong = |why: String| {
        let why = format!("rewrite.until_offsets: {}: {why}", path.display());
        Failure::from(SettingsError::new(file, why))
    };
    if fetch(rewrite.fetch) == Fetch::Off {
        return Err(wrong("it is about what is read, so `fetch` has to be on".to_owned()));
    }
    let text = std::fs::read(path).map_err(|why| wrong(why.to_string()))?;
    let snapshot: Snapshot = serde_json::from_slice(&text).map_err(|why| wrong(why.to_string()))?;
    let topics = snapshot.end_offsets.into_iter();
    Ok(Some(topics.map(|(topic, ends)| (topic, ends.into_iter().collect())).collect()))
}

fn rules(rewrite: &settings::Rewrite, contexts: &[String]) -> Result<Rules, String> {
    let select = |key: &str, topics: &[String]| {
        Selection::new(topics, &[]).map_err(|why| format!("rewrite.{key}: {why}"))
    };
    let treatment = |keys, values, unmapped, context| Treatment {
        context,
        parts: Parts { keys, values },
        unmapped: match unmapped {
            settings::Unmapped::Pass => OnUnmapped::Pass,
            settings::Unmapped::Reject => OnUnmapped::Reject,
            settings::Unmapped::Resolve => OnUnmapped::Resolve {
                or_reject: rewrite.unresolved == settings::Unresolved::Reject,
            },
        },
    };
    let rules = rewrite.rules.iter().map(|it| {
        let done = treatment(
            it.keys.unwrap_or(rewrite.keys),
            it.values.unwrap_or(rewrite.values),
            it.unmapped.unwrap_or(rewrite.unmapped),
            contexts.iter().position(|context| Some(context) == it.context.as_ref()).unwrap_or(0),
        );
        Ok((select("rules", &it.topics)?, done))
    });
    Ok(Rules {
        exclude: select("exclude", &rewrite.exclude)?,
        rules: rules.collect::<Result<_, String>>()?,
        otherwise: treatment(rewrite.keys, rewrite.values, rewrite.unmapped, 0),
    })
}

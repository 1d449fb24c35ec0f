//! TLS towards clients, with certificates that follow their files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kafka::security;
use rustls::ServerConfig;

use crate::Shared;

/// Where the certificate lies, PEM.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// Our certificate and those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who must have signed the certificates of clients, where they have to have one.
    pub client_ca: Option<PathBuf>,
}

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(2);

impl Certificates {
    pub(crate) fn load(&self) -> Result<Arc<ServerConfig>, String> {
        let read = |key: &str, path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|why| format!("{key}: {}: {why}", path.display()))
        };
        let key = read("key", &self.key)?.into();
        let client_ca = self.client_ca.as_ref().map(|it| read("client_ca", it)).transpose()?;
        security::server(&read("certificate", &self.certificate)?, &key, client_ca.as_deref())
    }

    /// When any of the files was last written.
    fn written(&self) -> Vec<Option<SystemTime>> {
        let files = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        let time = |path: &PathBuf| std::fs::metadata(path).and_then(|it| it.modified()).ok();
        files.into_iter().flatten().map(time).collect()
    }
}

/// Loads the files again when they change; what can't be used is told, and the old ones stay.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let (Some(files), Some(current)) = (&shared.settings.tls, &shared.tls) else { return };
    let mut seen = files.written();
    loop {
        tokio::time::sleep(PERIOD).await;
        let written = files.written();
        if written == seen {
            continue;
        }
        seen = written;
        match files.load() {
            Ok(config) => {
                current.store(config);
                tracing::info!("the certificate towards clients was loaded again");
            }
            Err(why) => tracing::error!("the certificate towards clients stays the old one: {why}"),
        }
    }
}

//! The whole story in one command, with nothing but Cargo:
//!
//! ```sh
//! cargo run --release --example demo
//! ```
//!
//! Two clusters and two registries run in this process. Records are written with the source's
//! schema ids, everything is backed up and restored into a target whose ids differ, a producer that
//! still has the old ids writes through the proxy, and in the end every record is decoded with the
//! target's registry.

mod payload;
mod world;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::Backup;
use artifact::store::Folder;
use kafka::Cluster;
use proxy::{Proxy, Rewrite};
use testbed::Broker;
use wire::id_map::{DEFAULT_CONTEXT, MapFile};
use wire::translate::Parts;
use world::{Check, World};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const BACKUP_ID: &str = "demo";
/// The registries are in this process; there is nobody to be polite to.
const REQUESTS_PER_SECOND: u32 = 10_000;

#[tokio::main]
async fn main() -> ExitCode {
    match tell().await {
        Ok(check) => {
            let (verified, mismatches) = (check.verified, check.mismatches.len());
            for mismatch in &check.mismatches {
                println!("  MISMATCH {mismatch}");
            }
            println!("demo: {verified} records verified, {mismatches} mismatches");
            if mismatches == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn tell() -> Result<Check> {
    let begun = Instant::now();
    println!("1. Two worlds: a source, and a target whose first ids are taken by other schemas");
    let source = World::source().await?;
    let target = World::target().await?;
    for (subject, id) in &source.subjects {
        println!("     source {subject}: id {id}");
    }
    println!("     target: ids 1 to {} are taken", target.subjects.len());

    println!("2. Records with the source's ids, in every codec, and some without a schema");
    let written = source.produce(&source.kafka.bootstrap(), "before the backup").await?;
    println!("     {} records in {} topics", written.len(), world::TOPICS.len());

    println!("3. Backup: schemas and records in one artefact");
    let folder = folder()?;
    let backup = Backup::new(Arc::new(Folder::new(&folder)), BACKUP_ID);
    let manifest = backup::run(&backup_plan(&source)?, &backup).await?;
    let records: u64 = manifest.topics.iter().map(artifact::manifest::Topic::records).sum();
    println!("     {records} records of {} topics, in {}", manifest.topics.len(), backup.place());

    println!("4. Restore: the target gives out its own ids, the records follow");
    let restored = restore::prepare(&restore_plan(&target)?, &backup)
        .await?
        .run(std::future::pending())
        .await?;
    for schema in &restored.schemas {
        let id = schema.target_id.ok_or("a schema was left out")?;
        let (subject, version) = (&schema.subject, schema.source.version);
        println!("     {subject} version {version}: id {} -> {}", schema.source_id, id);
    }
    let translated: u64 = restored.topics.iter().map(|it| it.translated).sum();
    println!("     {translated} ids translated in the records");

    println!("5. A producer that still has the old ids writes through the proxy");
    let map = read_map(&folder)?;
    let proxy = Proxy::start(proxy_settings(&target)?, map_settings(map)).await?;
    proxy.ready().await;
    let late = source.produce(&proxy.bootstrap().to_string(), "through the proxy").await?;
    println!("     {} records with old ids went to {}", late.len(), proxy.bootstrap());
    proxy.drain().await;

    println!("6. Everything in the target, decoded with the target's registry");
    let mut expected = written;
    expected.extend(late);
    let check = target.verify(&expected).await?;
    println!(
        "     took {:.1} s; the artefact lies in {}",
        begun.elapsed().as_secs_f32(),
        backup.place()
    );
    Ok(check)
}

/// `target/demo`, empty.
fn folder() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/demo");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn cluster(world: &World) -> Result<Cluster> {
    let bootstrap = world.kafka.bootstrap();
    let addresses = bootstrap.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?;
    Ok(Cluster::new(addresses, kafka::Security::default()))
}

fn registry(world: &World) -> Result<registry::Client> {
    let requests_per_second = REQUESTS_PER_SECOND.try_into()?;
    let settings = registry::Settings::new(&world.registry.url());
    Ok(registry::Client::new(&registry::Settings { requests_per_second, ..settings })?)
}

fn backup_plan(source: &World) -> Result<backup::Plan> {
    let topics = backup::TopicsPlan::all(cluster(source)?);
    let schemas = backup::SchemasPlan::all(registry(source)?);
    Ok(backup::Plan { topics: Some(topics), schemas: Some(schemas) })
}

fn restore_plan(target: &World) -> Result<restore::Plan> {
    let topics = restore::TopicsPlan::all(cluster(target)?);
    let mut registry = restore::RegistryPlan::new(registry(target)?);
    registry.ids = restore::Ids::Rewrite;
    Ok(restore::Plan { topics: Some(topics), registry: Some(registry), groups: None })
}

fn map_settings(map: MapFile) -> proxy::MapSettings {
    proxy::MapSettings {
        source: std::sync::Arc::new(map.clone()),
        first: map,
        contexts: vec![DEFAULT_CONTEXT.to_owned()],
        both_ways: false,
        period: std::time::Duration::from_mins(1),
    }
}

fn proxy_settings(target: &World) -> Result<proxy::Settings> {
    let bootstrap = target.kafka.bootstrap();
    Ok(proxy::Settings {
        bootstrap: "127.0.0.1:0".parse()?,
        reach: proxy::Reach::Ports { host: "127.0.0.1".to_owned(), base: 0, advertised_base: None },
        tls: None,
        users: None,
        security: kafka::Security::default(),
        target: bootstrap.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?,
        rewrite: Rewrite {
            produce: true,
            fetch: proxy::Fetch::Off,
            until: None,
            rules: std::sync::Arc::new(proxy::Rules {
                exclude: app::Selection::new(&[], &[])?,
                rules: Vec::new(),
                otherwise: proxy::Treatment {
                    parts: Parts::BOTH,
                    unmapped: proxy::OnUnmapped::Pass,
                    context: 0,
                },
            }),
        },
        max_frame_bytes: 100 << 20,
        max_decompressed_bytes: 64 << 20,
        registries: None,
        max_connections: 1000,
        max_inflight_bytes: 256 << 20,
        idle_timeout: Duration::MAX,
        drain_timeout: Duration::from_secs(5),
    })
}

fn read_map(folder: &Path) -> Result<MapFile> {
    let path = folder.join(BACKUP_ID).join(artifact::layout::ID_MAP);
    Ok(MapFile::parse(&std::fs::read_to_string(path)?)?)
}

//! `kafka-backup report`: what one attaches to a change ticket.

mod page;

use std::collections::BTreeMap;
use std::path::Path;

use ::backup::validate::Validation;
use artifact::manifest::{ObjectSum, RegistryManifest};
use artifact::{Backup, layout};
use registry::model::Version;
use serde::Serialize;
use wire::id_map::{DEFAULT_CONTEXT, MapFile};

use super::describe::Description;
use crate::exit::Failure;
use crate::open;

/// All of it.
#[derive(Debug, Serialize)]
struct Report {
    /// What was captured.
    backup: Description,
    /// Whether it is what was written.
    validation: Validation,
    /// Every version, each after those that it references.
    schemas: Vec<Schema>,
    /// How ids changed, where a restore has written that down.
    id_map: Option<MapFacts>,
    checksums: Checksums,
}

#[derive(Debug, Serialize)]
struct Schema {
    subject: String,
    version: u32,
    #[serde(rename = "schema_type")]
    kind: String,
    id: u32,
    /// In the registry that it was restored into.
    target_id: Option<u32>,
    deleted: bool,
    /// `subject version n`.
    references: Vec<String>,
}

impl Schema {
    fn name(&self) -> String {
        format!("{} version {}", self.subject, self.version)
    }
}

#[derive(Debug, Serialize)]
struct MapFacts {
    source: Option<String>,
    target: Option<String>,
    created_at: Option<String>,
    ids: usize,
    changed: usize,
}

/// The manifest lists the sum of every other object, so its own stands for all.
#[derive(Debug, Serialize)]
struct Checksums {
    manifest: ObjectSum,
    /// By their places.
    schema_registry: BTreeMap<String, ObjectSum>,
}

/// Writes the report of a finished backup: as a page, or as JSON where the file's name ends so.
/// Problems that the check finds are in it, and end with their own exit code.
pub async fn run(path: &str, backup_id: &str, deep: bool, output: &Path) -> Result<(), Failure> {
    let is_json = output.extension().is_some_and(|it| it.eq_ignore_ascii_case("json"));
    let is_page = output.extension().is_some_and(|it| it.eq_ignore_ascii_case("html"));
    if !is_json && !is_page {
        let why = format!("{}: a report is a `.html` or a `.json` file", output.display());
        return Err(Failure::Usage(why));
    }
    let backup = Backup::new(open::store_at(path).await?, backup_id);
    let report = read(&backup, deep).await?;
    let text = if is_json {
        serde_json::to_string_pretty(&report).expect("results have string keys only") + "\n"
    } else {
        page::html(&report)
    };
    std::fs::write(output, text)
        .map_err(|why| Failure::Failed(format!("{}: {why}", output.display())))?;
    eprintln!("written to {}", output.display());
    match report.validation.problems.len() {
        0 => Ok(()),
        count => Err(Failure::Differs(format!("{count} problems in {}", backup.place()))),
    }
}

async fn read(backup: &Backup, deep: bool) -> Result<Report, Failure> {
    let manifest = backup.manifest().await?;
    let bytes = backup.find(layout::MANIFEST).await?.unwrap_or_default();
    let validation = ::backup::validate::validate(backup, deep).await?;
    let map: Option<MapFile> = match backup.find(layout::ID_MAP).await? {
        None => None,
        Some(text) => Some(
            std::str::from_utf8(&text)
                .map_err(|why| why.to_string())
                .and_then(|text| MapFile::parse(text).map_err(|why| why.to_string()))
                .map_err(|why| Failure::Failed(format!("{}: {why}", layout::ID_MAP)))?,
        ),
    };
    let mut checksums =
        Checksums { manifest: ObjectSum::of(&bytes), schema_registry: BTreeMap::new() };
    let mut schemas = Vec::new();
    if let Some(part) = &manifest.schema_registry {
        let registry: RegistryManifest =
            backup.json(layout::REGISTRY_MANIFEST, &part.manifest).await?;
        for key in &registry.dependency_order {
            let object = layout::version(&key.subject, key.version);
            // What is damaged is told among the problems.
            let Some(sum) = registry.objects.get(&object) else { continue };
            let Ok(version) = backup.json::<Version>(&object, sum).await else { continue };
            schemas.push(schema(version, map.as_ref()));
        }
        checksums.schema_registry = registry.objects;
    }
    let id_map = map.map(|map| {
        let all = map.mapping.iter().chain(map.contexts.values().flatten());
        MapFacts {
            changed: all.clone().filter(|(source, target)| source != target).count(),
            ids: all.count(),
            source: map.source.map(|it| it.url),
            target: map.target.map(|it| it.url),
            created_at: map.created_at,
        }
    });
    let backup = Description::read(backup, manifest).await?;
    Ok(Report { backup, validation, schemas, id_map, checksums })
}

fn schema(version: Version, map: Option<&MapFile>) -> Schema {
    let pairs = map.map(|map| match version.context() {
        DEFAULT_CONTEXT => Some(&map.mapping),
        context => map.contexts.get(context),
    });
    let references = version.schema.references.iter().map(|it| {
        let (subject, number) = it.target(&version.subject);
        let number = number.map_or_else(|| "latest".to_owned(), |it| it.to_string());
        format!("{subject} version {number}")
    });
    Schema {
        references: references.collect(),
        target_id: pairs.flatten().and_then(|it| it.get(&version.id)).copied(),
        version: version.version,
        id: version.id,
        deleted: version.deleted,
        kind: version.schema.schema_type,
        subject: version.subject,
    }
}

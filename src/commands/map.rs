//! `kafka-backup map`

use std::path::Path;

use ::restore::generate::{Generated, generate};
use ::restore::map::{contexts, unknown_targets};
use serde::Serialize;
use wire::id_map::MapFile;

use super::{Format, print_json};
use crate::exit::Failure;
use crate::open::{self, MapPlace};

/// Prints a map as it is understood.
pub async fn show(file: &str, format: Format) -> Result<(), Failure> {
    let map = MapPlace::at(file, None).await?.map().await?;
    match format {
        Format::Json => print!("{}", map.to_json()),
        Format::Text => print(&map),
    }
    Ok(())
}

fn print(map: &MapFile) {
    for (side, registry) in [("source", &map.source), ("target", &map.target)] {
        if let Some(registry) = registry {
            println!("{side}: {}", registry.url);
        }
    }
    for (context, pairs) in contexts(map) {
        println!("context {context}: {} ids", pairs.len());
        for (id, target) in pairs {
            let of = map.subjects.get(id).filter(|_| context == ".");
            let of = of.map(|names| format!("  {}", names.join(", "))).unwrap_or_default();
            println!("  {id} -> {target}{of}");
        }
    }
}

/// What `map check` found.
#[derive(Debug, Serialize)]
struct Checked {
    ids: usize,
    problems: Vec<String>,
}

/// Checks that a map can be loaded, and where registries are named, that its ids exist there.
pub async fn check(
    file: &str,
    source: Option<&str>,
    target: Option<&str>,
    format: Format,
) -> Result<(), Failure> {
    let map = MapPlace::at(file, None).await?.map().await?;
    let ids = contexts(&map).map(|(_, pairs)| pairs.len()).sum();
    let mut problems = Vec::new();
    if let Some(target) = target {
        let client = open::registry_at(target)?;
        let unknown = unknown_targets(&map, &client, str::to_owned).await?;
        problems.extend(unknown.iter().map(|id| {
            format!(
                "Schema ID {id} not found in target registry: correct the map, or restore its \
                 schema first"
            )
        }));
    }
    if let Some(source) = source {
        let client = open::registry_at(source)?;
        for (context, pairs) in contexts(&map) {
            for &id in pairs.keys() {
                if client.schema(id, context).await?.is_none() {
                    problems.push(format!("Schema ID {id} not found in source registry"));
                }
            }
        }
    }
    let checked = Checked { ids, problems };
    match format {
        Format::Json => print_json(&checked),
        Format::Text => {
            println!("{ids} ids");
            checked.problems.iter().for_each(|it| println!("PROBLEM {it}"));
        }
    }
    match checked.problems.len() {
        0 => Ok(()),
        count => Err(Failure::Differs(format!("{count} problems in {file}"))),
    }
}

/// Makes the map between two live registries and prints it, or writes it to a file.
pub async fn make(
    source: &str,
    target: &str,
    output: Option<&Path>,
    format: Format,
) -> Result<(), Failure> {
    let (source, target) = (open::registry_at(source)?, open::registry_at(target)?);
    let generated = generate(&source, &target).await?;
    if let Some(path) = output {
        std::fs::write(path, generated.map.to_json())
            .map_err(|why| Failure::Failed(format!("writing {} failed: {why}", path.display())))?;
    }
    match format {
        Format::Json => print_json(&generated),
        Format::Text => print_generated(&generated),
    }
    let left = generated.unmatched.len() + generated.ambiguous.len();
    if left > 0 {
        return Err(Failure::Differs(format!("{left} ids of the source have no certain partner")));
    }
    Ok(())
}

fn print_generated(generated: &Generated) {
    print(&generated.map);
    for it in &generated.unmatched {
        let versions: Vec<String> = it.versions.iter().map(ToString::to_string).collect();
        println!("UNMATCHED {} in context {}: {}", it.id, it.context, versions.join(", "));
    }
    for it in &generated.ambiguous {
        println!("AMBIGUOUS {} in context {}: {:?}", it.id, it.context, it.candidates);
    }
}

//! The report as one page that needs nothing else.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

use super::{Report, Schema};
use crate::commands::size;

/// Text from outside, safe between tags and in attributes.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8885;--good:#1a7f37;--bad:#cf222e;--soft:#8882}\
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%;display:block;overflow-x:auto}\
th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid var(--line);white-space:nowrap}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
.good{color:var(--good)}.bad{color:var(--bad)}code{font-size:.85em;overflow-wrap:anywhere}\
svg{max-width:100%;height:auto}svg text{fill:currentColor;font:12px system-ui,sans-serif}\
svg rect{fill:var(--soft);stroke:var(--line)}svg path{stroke:currentColor;fill:none;opacity:.5}";

pub(super) fn html(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write(report, &mut out);
    out
}

fn write(report: &Report, out: &mut String) -> fmt::Result {
    let Report { backup, validation, schemas, id_map, checksums } = report;
    let (id, place) = (Text(&backup.backup_id), Text(&backup.place));
    write!(
        out,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <title>Backup {id}</title><style>{STYLE}</style><h1>Backup {id}</h1><p>in <code>{place}</code>, \
         begun {}, finished {}, run {}.</p>",
        Text(&backup.started_at),
        Text(&backup.finished_at),
        backup.runs
    )?;
    let how = if validation.deep { "every record read" } else { "sizes and checksums" };
    let (objects, segments) = (validation.objects, validation.segments);
    write!(out, "<h2>Is it what was written?</h2>")?;
    if validation.problems.is_empty() {
        write!(
            out,
            "<p class=good>Yes: {objects} objects and {segments} segments checked ({how}).</p>"
        )?;
    } else {
        write!(out, "<p class=bad>No: {} problems.</p><ul>", validation.problems.len())?;
        for problem in &validation.problems {
            write!(out, "<li class=bad>{}", Text(problem))?;
        }
        write!(out, "</ul>")?;
    }
    if !validation.gaps.is_empty() {
        write!(
            out,
            "<p class=bad>The source had deleted records before they could be captured:</p><ul>"
        )?;
        for gap in &validation.gaps {
            write!(out, "<li>{}", Text(gap))?;
        }
        write!(out, "</ul>")?;
    }

    write!(
        out,
        "<h2>Topics</h2><table><tr><th>topic<th class=n>partitions<th class=n>records<th class=n>size<th class=n>gaps<th class=n>aborted</tr>"
    )?;
    for it in &backup.topics {
        write!(
            out,
            "<tr><td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}</tr>",
            Text(&it.name),
            it.partitions,
            it.records,
            size(it.bytes),
            it.gaps.len(),
            it.aborted
        )?;
    }
    write!(out, "</table>")?;
    if let Some(groups) = &backup.groups {
        let names: Vec<String> = groups.iter().map(|it| Text(it).to_string()).collect();
        write!(
            out,
            "<p>Consumer groups: {}</p>",
            if names.is_empty() { "none".into() } else { names.join(", ") }
        )?;
    }

    write!(out, "<h2>Schemas</h2>")?;
    if let Some(map) = id_map {
        let or_unknown = |it: &Option<String>| {
            it.as_deref().map_or("an unknown place".into(), |it| Text(it).to_string())
        };
        write!(
            out,
            "<p>Restored from {} into {}: {} ids, of which {} are others there.</p>",
            or_unknown(&map.source),
            or_unknown(&map.target),
            map.ids,
            map.changed
        )?;
    } else {
        write!(out, "<p>No restore has written an id map yet.</p>")?;
    }
    write!(
        out,
        "<table><tr><th>subject<th class=n>version<th>type<th class=n>id<th class=n>id in the target<th>references</tr>"
    )?;
    for it in schemas {
        let target = it.target_id.map_or(String::new(), |it| it.to_string());
        let references: Vec<String> = it.references.iter().map(|it| Text(it).to_string()).collect();
        write!(
            out,
            "<tr><td>{}{}<td class=n>{}<td>{}<td class=n>{}<td class=n>{target}<td>{}</tr>",
            Text(&it.subject),
            if it.deleted { " (soft-deleted)" } else { "" },
            it.version,
            Text(&it.kind),
            it.id,
            references.join(", ")
        )?;
    }
    write!(out, "</table>")?;
    graph(schemas, out)?;

    writeln!(
        out,
        "<h2>Checksums</h2><p>The manifest lists the checksum of every other object. Its own SHA-256:<br>\
         <code>{}</code> ({} bytes)</p></html>",
        Text(&checksums.manifest.sha256),
        checksums.manifest.bytes
    )
}

/// More than these are no picture.
const MOST: usize = 100;
const BOX: (usize, usize) = (230, 26);
const STEP: (usize, usize) = (300, 38);

/// What references what: on the left what references nothing, an arrow from each schema to what it
/// needs.
fn graph(schemas: &[Schema], out: &mut String) -> fmt::Result {
    let mut depth: BTreeMap<String, usize> = BTreeMap::new();
    // In this order each comes after what it references.
    for it in schemas {
        let below = it.references.iter().filter_map(|it| depth.get(it)).max();
        let column = if it.references.is_empty() { 0 } else { below.map_or(1, |it| it + 1) };
        depth.insert(it.name(), column);
    }
    let named = |name: &String| schemas.iter().any(|it| it.references.contains(name));
    let drawn: Vec<&Schema> =
        schemas.iter().filter(|it| !it.references.is_empty() || named(&it.name())).collect();
    if drawn.is_empty() || drawn.len() > MOST {
        return Ok(());
    }
    let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
    let mut places: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for it in &drawn {
        let column = depth[&it.name()];
        let row = rows.entry(column).or_default();
        places.insert(it.name(), (column * STEP.0, *row * STEP.1));
        *row += 1;
    }
    let columns = rows.keys().max().map_or(1, |it| it + 1);
    let height = rows.values().max().copied().unwrap_or(1) * STEP.1;
    let width = (columns - 1) * STEP.0 + BOX.0;
    write!(
        out,
        "<h2>References</h2><svg viewBox='-1 -1 {} {}' width={} role=img aria-label='which schema references which'>",
        width + 2,
        height + 2,
        width + 2
    )?;
    for it in &drawn {
        let (x, y) = places[&it.name()];
        for (to_x, to_y) in it.references.iter().filter_map(|it| places.get(it)) {
            let (from, to) = ((x, y + BOX.1 / 2), (to_x + BOX.0, to_y + BOX.1 / 2));
            let middle = from.0.midpoint(to.0);
            write!(
                out,
                "<path d='M{} {}C{middle} {} {middle} {} {} {}'/>",
                from.0, from.1, from.1, to.1, to.0, to.1
            )?;
        }
        write!(
            out,
            "<rect x={x} y={y} width={} height={} rx=4 /><text x={} y={}>{}</text>",
            BOX.0,
            BOX.1,
            x + 8,
            y + 17,
            Text(&shortened(&it.name()))
        )?;
    }
    write!(out, "</svg>")
}

/// What fits into a box.
fn shortened(name: &str) -> String {
    const MOST: usize = 34;
    match name.char_indices().nth(MOST) {
        None => name.to_owned(),
        Some(_) => {
            format!("…{}", name.chars().skip(name.chars().count() - MOST + 1).collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_are_text() {
        let hostile = r#"<script>alert("1")</script>&'"#;
        let wanted = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;";
        assert_eq!(Text(hostile).to_string(), wanted);
        let long = "ä".repeat(50);
        assert_eq!(shortened(&long).chars().count(), 34);
    }
}

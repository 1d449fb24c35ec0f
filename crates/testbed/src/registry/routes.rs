use serde_json::{Value, json};

use super::compatibility;
use super::state::{Context, Schema, State, Subject, Version};

/// One request, taken apart.
pub(super) struct Call {
    method: String,
    path: Vec<String>,
    query: Vec<(String, String)>,
    body: Value,
}

type Answer = (u16, Value);

impl Call {
    pub(super) fn new(method: &str, path_and_query: &str, body: &[u8]) -> Self {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        // Apicurio has its API below a prefix; both work here.
        let path = path.strip_prefix("/apis/ccompat/v7").unwrap_or(path);
        let pair = |it: &str| {
            let (name, value) = it.split_once('=').unwrap_or((it, ""));
            (unescape(name), unescape(value))
        };
        Self {
            method: method.to_owned(),
            path: path.split('/').filter(|it| !it.is_empty()).map(unescape).collect(),
            query: query.split('&').filter(|it| !it.is_empty()).map(pair).collect(),
            body: serde_json::from_slice(body).unwrap_or(Value::Null),
        }
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }
}

pub(super) fn answer(call: &Call, state: &mut State) -> Answer {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    match (call.method.as_str(), path.as_slice()) {
        ("GET", ["subjects"]) => subjects(call, state),
        ("GET", ["subjects", name, "versions"]) => versions(call, state, name),
        ("GET", ["subjects", name, "versions", version]) => version_of(call, state, name, version),
        ("GET", ["subjects", name, "versions", version, "referencedby"]) => {
            referenced_by(state, name, version)
        }
        ("POST", ["subjects", name, "versions"]) => register(call, state, name),
        ("POST", ["subjects", name]) => lookup(call, state, name),
        ("DELETE", ["subjects", name]) => delete_subject(call, state, name),
        ("DELETE", ["subjects", name, "versions", version]) => {
            delete_version(call, state, name, version)
        }
        ("GET", ["schemas", "types"]) => (200, json!(["JSON", "PROTOBUF", "AVRO"])),
        ("GET", ["schemas", "ids", id]) => schema_by_id(call, state, id),
        ("GET", ["schemas", "guids", guid]) if state.guids => schema_by_guid(state, guid),
        ("GET", ["schemas", "ids", id, "versions"]) => versions_of_id(call, state, id),
        ("POST", ["compatibility", "subjects", name, "versions", version]) => {
            compatible(call, state, name, version)
        }
        ("GET", ["contexts"]) => contexts(state),
        ("GET", ["v1", "metadata", "version"]) => (200, json!({ "version": "7.9.9" })),
        ("GET", ["v1", "metadata", "id"]) => (200, json!({ "id": "testbed" })),
        (method, ["config", rest @ ..]) if rest.len() < 2 => {
            config(method, call, state, rest.first().copied().unwrap_or(""))
        }
        (method, ["mode", rest @ ..]) if rest.len() < 2 && !state.apicurio => {
            mode(method, call, state, rest.first().copied().unwrap_or(""))
        }
        _ if state.apicurio => (404, json!({ "error_code": 0, "message": "not found" })),
        _ => (404, json!({ "error_code": 404, "message": "HTTP 404 Not Found" })),
    }
}

fn refuse(code: u32, message: impl Into<String>) -> Answer {
    let status = if code >= 10_000 { code / 100 } else { code };
    (status as u16, json!({ "error_code": code, "message": message.into() }))
}

fn no_subject(name: &str) -> Answer {
    refuse(40401, format!("Subject '{name}' not found."))
}

/// Context and bare name of `:.ctx:name`, or of a plain name.
fn split(name: &str) -> (String, String) {
    match name.strip_prefix(':').and_then(|rest| rest.split_once(':')) {
        Some((context, bare)) if context.starts_with('.') => (context.to_owned(), bare.to_owned()),
        _ => (".".to_owned(), name.to_owned()),
    }
}

fn qualified(context: &str, name: &str) -> String {
    if context == "." { name.to_owned() } else { format!(":{context}:{name}") }
}

fn subjects(call: &Call, state: &State) -> Answer {
    let (deleted, only) = (call.flag("deleted"), call.flag("deletedOnly"));
    let prefix = call.text("subjectPrefix").unwrap_or("");
    let mut names = Vec::new();
    for (context, it) in &state.contexts {
        for (name, subject) in &it.subjects {
            let shown = match (only, deleted) {
                (true, _) => !subject.is_live() && !subject.versions.is_empty(),
                (_, true) => !subject.versions.is_empty(),
                _ => subject.is_live(),
            };
            let name = qualified(context, name);
            if shown && name.starts_with(prefix) {
                names.push(name);
            }
        }
    }
    names.sort_unstable();
    let number = |name: &str| call.text(name).and_then(|it| it.parse::<usize>().ok());
    let rest = names.into_iter().skip(number("offset").unwrap_or(0));
    let page: Vec<_> = rest.take(number("limit").unwrap_or(usize::MAX)).collect();
    (200, json!(page))
}

fn versions(call: &Call, state: &mut State, name: &str) -> Answer {
    let (context, bare) = split(name);
    let (deleted, only) = (call.flag("deleted"), call.flag("deletedOnly"));
    let Some(subject) = state.context(&context).subjects.get(&bare) else {
        return no_subject(name);
    };
    let shown = |it: &Version| {
        if only { it.deleted } else { deleted || !it.deleted }
    };
    let numbers: Vec<u32> =
        subject.versions.iter().filter(|(_, it)| shown(it)).map(|(&number, _)| number).collect();
    if numbers.is_empty() { no_subject(name) } else { (200, json!(numbers)) }
}

/// `latest`, `-1` or a number.
fn version_number(text: &str, subject: &Subject) -> Result<u32, Answer> {
    if text == "latest" || text == "-1" {
        let latest = subject.live().next_back().map(|(number, _)| number);
        return latest.ok_or_else(|| refuse(40402, "Version not found."));
    }
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| {
        refuse(
            42202,
            format!(
                "The specified version '{text}' is not a valid version id. Allowed values are \
                 between [1, 2^31-1] and the string \"latest\""
            ),
        )
    })
}

fn version_of(call: &Call, state: &mut State, name: &str, version: &str) -> Answer {
    let (context, bare) = split(name);
    let (deleted, guids) = (call.flag("deleted"), state.guids);
    let it = state.context(&context);
    let Some(subject) = it.subjects.get(&bare).filter(|it| deleted || it.is_live()) else {
        return no_subject(name);
    };
    let number = match version_number(version, subject) {
        Ok(number) => number,
        Err(refusal) => return refusal,
    };
    match subject.versions.get(&number).filter(|it| deleted || !it.deleted) {
        None => refuse(40402, format!("Version {number} not found.")),
        Some(found) => (200, version_json(guids, it, &context, &bare, number, found.id)),
    }
}

fn version_json(
    guids: bool,
    it: &Context,
    context: &str,
    bare: &str,
    number: u32,
    id: u32,
) -> Value {
    let mut json = schema_json(&it.schemas[&id]);
    json["subject"] = json!(qualified(context, bare));
    json["version"] = json!(number);
    json["id"] = json!(id);
    if guids {
        json["guid"] = json!(it.schemas[&id].guid());
    }
    json
}

fn schema_json(schema: &Schema) -> Value {
    let mut json = json!({ "schema": schema.text });
    if schema.kind != "AVRO" {
        json["schemaType"] = json!(schema.kind);
    }
    if !schema.references.is_empty() {
        json["references"] = json!(schema.references);
    }
    for (name, value) in [("metadata", &schema.metadata), ("ruleSet", &schema.rule_set)] {
        if let Some(value) = value {
            json[name] = value.clone();
        }
    }
    json
}

fn schema_by_id(call: &Call, state: &mut State, id: &str) -> Answer {
    let (context, _) = split(call.text("subject").unwrap_or(""));
    let found = id.parse().ok().and_then(|id: u32| state.context(&context).schemas.get(&id));
    match found {
        Some(schema) => (200, schema_json(schema)),
        None => refuse(40403, format!("Schema {id} not found")),
    }
}

fn schema_by_guid(state: &State, guid: &str) -> Answer {
    let all = state.contexts.values().flat_map(|it| &it.schemas);
    match all.into_iter().find(|(_, schema)| schema.guid() == guid) {
        Some((id, schema)) => {
            let mut json = schema_json(schema);
            (json["id"], json["guid"]) = (json!(id), json!(guid));
            (200, json)
        }
        None => refuse(40403, format!("Schema {guid} not found")),
    }
}

fn versions_of_id(call: &Call, state: &mut State, id: &str) -> Answer {
    let (context, _) = split(call.text("subject").unwrap_or(""));
    let deleted = call.flag("deleted");
    let it = state.context(&context);
    let Some(id) = id.parse().ok().filter(|id: &u32| it.schemas.contains_key(id)) else {
        return refuse(40403, format!("Schema {id} not found"));
    };
    let mut found = Vec::new();
    for (name, subject) in &it.subjects {
        for (number, version) in &subject.versions {
            if version.id == id && (deleted || !version.deleted) {
                found.push(json!({ "subject": qualified(&context, name), "version": number }));
            }
        }
    }
    (200, json!(found))
}

fn contexts(state: &State) -> Answer {
    if state.apicurio {
        return (200, json!([":.:"]));
    }
    (200, json!(state.contexts.keys().collect::<Vec<_>>()))
}

/// Ids of the live versions that reference this one.
fn referencing(it: &Context, name: &str, version: u32) -> Vec<u32> {
    // Within a context a reference may leave it out.
    let (_, bare) = split(name);
    let is_it = |reference: &Value| {
        (reference["subject"] == name || reference["subject"] == bare)
            && reference["version"].as_u64() == Some(version.into())
    };
    let live = it.subjects.values().flat_map(Subject::live).map(|(_, version)| version.id);
    let mut ids: Vec<u32> = live.filter(|id| it.schemas[id].references.iter().any(is_it)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn referenced_by(state: &mut State, name: &str, version: &str) -> Answer {
    let (context, bare) = split(name);
    let it = state.context(&context);
    let Some(subject) = it.subjects.get(&bare) else {
        return no_subject(name);
    };
    match version_number(version, subject) {
        Ok(number) => (200, json!(referencing(it, name, number))),
        Err(refusal) => refusal,
    }
}

/// The mode that rules a subject: its own, its context's, the default context's.
fn mode_of(state: &State, context: &str, bare: &str) -> String {
    let it = state.contexts.get(context);
    let own = it.and_then(|it| it.subjects.get(bare)).and_then(|it| it.mode.clone());
    own.or_else(|| it.and_then(|it| it.mode.clone()))
        .or_else(|| state.contexts["."].mode.clone())
        .unwrap_or_else(|| "READWRITE".to_owned())
}

fn level_of(state: &State, context: &str, bare: &str) -> String {
    let it = state.contexts.get(context);
    let own = it.and_then(|it| it.subjects.get(bare)).and_then(|it| it.config.as_ref());
    let config = own.or_else(|| it.and_then(|it| it.config.as_ref()));
    let config = config.or(state.contexts["."].config.as_ref());
    let level = config.and_then(|it| it["compatibilityLevel"].as_str());
    level.unwrap_or(if state.apicurio { "NONE" } else { "BACKWARD" }).to_owned()
}

fn register(call: &Call, state: &mut State, name: &str) -> Answer {
    let (context, bare) = split(name);
    let schema = Schema::new(&call.body);
    let number = |field: &str| call.body[field].as_i64().filter(|&it| it > 0).map(|it| it as u32);
    let (id, version) =
        if state.apicurio { (None, None) } else { (number("id"), number("version")) };
    let mode = mode_of(state, &context, &bare);
    match (mode.as_str(), id) {
        ("READONLY" | "READONLY_OVERRIDE", _) => {
            return refuse(42205, format!("Subject {bare} in context  is in read-only mode"));
        }
        ("IMPORT", None) => {
            return refuse(42205, format!("Subject {bare} in context  is not in read-write mode"));
        }
        ("READWRITE", Some(_)) => {
            return refuse(42205, format!("Subject {bare} is not in import or forward mode"));
        }
        _ => {}
    }
    if let Some(flaw) = schema.flaw() {
        return refuse(42201, flaw);
    }
    for reference in &schema.references {
        let (subject, number) = (&reference["subject"], &reference["version"]);
        let (its_context, its_name) = split(subject.as_str().unwrap_or_default());
        let its_context = if its_context == "." { context.clone() } else { its_context };
        let target = state.context(&its_context).subjects.get(&its_name);
        let there = target.is_some_and(|it| match number.as_i64() {
            Some(-1) => it.is_live(),
            Some(number) => it.versions.get(&(number as u32)).is_some_and(|it| !it.deleted),
            None => false,
        });
        if !there {
            let message = format!(
                "Invalid schema {}, details: No schema reference found for subject {subject} and \
                 version {number}",
                schema.text
            );
            return refuse(42201, message);
        }
    }
    match id {
        Some(id) => import(state, (&context, &bare), schema, id, version),
        None => append(state, (&context, &bare), schema, version),
    }
}

fn append(
    state: &mut State,
    (context, bare): (&str, &str),
    mut schema: Schema,
    version: Option<u32>,
) -> Answer {
    let level = level_of(state, context, bare);
    let it = state.context(context);
    let subject = it.subjects.entry(bare.to_owned()).or_default();
    let next = subject.versions.keys().next_back().map_or(1, |last| last + 1);
    match version {
        Some(version) if version != next => {
            return refuse(42201, "Version is not one more than previous version");
        }
        // The server stores a version that fits as metadata, which makes another schema of it.
        Some(version) => {
            let metadata = schema.metadata.get_or_insert_with(|| json!({}));
            metadata["properties"]["confluent:version"] = json!(version.to_string());
        }
        None => {}
    }
    for (_, version) in subject.live() {
        if it.schemas[&version.id].equals(&schema) {
            return (200, registered(version.id, &schema));
        }
    }
    let transitive = level.ends_with("_TRANSITIVE");
    let earlier = subject.live().rev().take(if transitive { usize::MAX } else { 1 });
    for (_, version) in earlier {
        if let Some(why) = compatibility::conflict(&level, &schema, &it.schemas[&version.id]) {
            let message = format!(
                "Schema being registered is incompatible with an earlier schema for subject \
                 \"{bare}\", details: [{why}]"
            );
            return refuse(409, message);
        }
    }
    let known = it.schemas.iter().find(|(_, known)| known.equals(&schema)).map(|(&id, _)| id);
    let id = known.unwrap_or_else(|| {
        let id = it.next_id;
        it.next_id += 1;
        it.schemas.insert(id, schema.clone());
        id
    });
    subject.versions.insert(next, Version { id, deleted: false });
    (200, registered(id, &schema))
}

fn compatible(call: &Call, state: &mut State, name: &str, version: &str) -> Answer {
    let (context, bare) = split(name);
    let schema = Schema::new(&call.body);
    let level = level_of(state, &context, &bare);
    let it = state.context(&context);
    let Some(subject) = it.subjects.get(&bare).filter(|it| it.is_live()) else {
        return no_subject(name);
    };
    let number = match version_number(version, subject) {
        Ok(number) => number,
        Err(refusal) => return refusal,
    };
    let Some(found) = subject.versions.get(&number) else {
        return refuse(40402, format!("Version {number} not found."));
    };
    let conflict = compatibility::conflict(&level, &schema, &it.schemas[&found.id]);
    (
        200,
        json!({ "is_compatible": conflict.is_none(), "messages": conflict.into_iter().collect::<Vec<_>>() }),
    )
}

/// With metadata or rules the answer carries more than the id.
fn registered(id: u32, schema: &Schema) -> Value {
    if schema.metadata.is_none() && schema.rule_set.is_none() {
        return json!({ "id": id });
    }
    let mut json = schema_json(schema);
    json["id"] = json!(id);
    json
}

fn import(
    state: &mut State,
    (context, bare): (&str, &str),
    schema: Schema,
    id: u32,
    version: Option<u32>,
) -> Answer {
    let it = state.context(context);
    if it.schemas.get(&id).is_some_and(|taken| !taken.equals(&schema)) {
        let message = format!("Overwrite new schema with id {id} in context  is not permitted.");
        return refuse(42205, message);
    }
    let subject = it.subjects.entry(bare.to_owned()).or_default();
    let next = subject.versions.keys().next_back().map_or(1, |last| last + 1);
    it.next_id = it.next_id.max(id + 1);
    let answer = registered(id, it.schemas.entry(id).or_insert(schema));
    // Another id of the same version is replaced without a word, as the real one does.
    subject.versions.insert(version.unwrap_or(next), Version { id, deleted: false });
    (200, answer)
}

fn lookup(call: &Call, state: &mut State, name: &str) -> Answer {
    let (context, bare) = split(name);
    let schema = Schema::new(&call.body);
    let (deleted, guids) = (call.flag("deleted"), state.guids);
    let it = state.context(&context);
    let Some(subject) = it.subjects.get(&bare).filter(|it| deleted || it.is_live()) else {
        return no_subject(name);
    };
    let found = subject
        .versions
        .iter()
        .rev()
        .filter(|(_, it)| deleted || !it.deleted)
        .find(|(_, version)| it.schemas[&version.id].equals(&schema));
    match found {
        Some((&number, version)) => {
            (200, version_json(guids, it, &context, &bare, number, version.id))
        }
        None => refuse(40403, "Schema not found"),
    }
}

fn delete_subject(call: &Call, state: &mut State, name: &str) -> Answer {
    let (context, bare) = split(name);
    let permanent = call.flag("permanent");
    let it = state.context(&context);
    let Some(subject) = it.subjects.get(&bare).filter(|it| !it.versions.is_empty()) else {
        return no_subject(name);
    };
    let numbers: Vec<u32> = subject.versions.keys().copied().collect();
    if permanent && subject.is_live() {
        let message =
            format!("Subject '{name}' was not deleted first before being permanently deleted");
        return refuse(40405, message);
    }
    if !permanent && !subject.is_live() {
        return refuse(40404, format!("Subject '{name}' was soft deleted."));
    }
    if let Some(number) = numbers.iter().find(|&&number| !referencing(it, name, number).is_empty())
    {
        return refuse(
            42206,
            format!("One or more references exist to the schema {name} {number}"),
        );
    }
    if permanent {
        it.subjects.remove(&bare);
    } else if let Some(subject) = it.subjects.get_mut(&bare) {
        subject.versions.values_mut().for_each(|it| it.deleted = true);
    }
    (200, json!(numbers))
}

fn delete_version(call: &Call, state: &mut State, name: &str, version: &str) -> Answer {
    let (context, bare) = split(name);
    let permanent = call.flag("permanent");
    let it = state.context(&context);
    let Some(subject) = it.subjects.get(&bare).filter(|it| !it.versions.is_empty()) else {
        return no_subject(name);
    };
    let number = match version_number(version, subject) {
        Ok(number) => number,
        Err(refusal) => return refusal,
    };
    let Some(found) = subject.versions.get(&number).copied() else {
        return refuse(40402, format!("Version {number} not found."));
    };
    if permanent && !found.deleted {
        let message = format!(
            "Subject '{name}' Version {number} was not deleted first before being permanently deleted"
        );
        return refuse(40407, message);
    }
    if !permanent && found.deleted {
        return refuse(40406, format!("Subject '{name}' Version {number} was soft deleted."));
    }
    if !referencing(it, name, number).is_empty() {
        return refuse(
            42206,
            format!("One or more references exist to the schema {name} {number}"),
        );
    }
    if let Some(subject) = it.subjects.get_mut(&bare) {
        if permanent {
            subject.versions.remove(&number);
        } else {
            subject.versions.insert(number, Version { id: found.id, deleted: true });
        }
    }
    (200, json!(number))
}

const LEVELS: [&str; 7] = [
    "NONE",
    "BACKWARD",
    "BACKWARD_TRANSITIVE",
    "FORWARD",
    "FORWARD_TRANSITIVE",
    "FULL",
    "FULL_TRANSITIVE",
];
const MODES: [&str; 5] = ["READWRITE", "READONLY", "READONLY_OVERRIDE", "IMPORT", "FORWARD"];

/// A context's own setting is addressed as the subject with the empty name, `:.ctx:`.
fn is_context(name: &str, bare: &str) -> bool {
    name.is_empty() || bare.is_empty()
}

fn config(method: &str, call: &Call, state: &mut State, name: &str) -> Answer {
    let (context, bare) = split(name);
    let global = json!({ "compatibilityLevel": level_of(state, ".", "") });
    let it = state.context(&context);
    let slot = if is_context(name, &bare) {
        &mut it.config
    } else {
        &mut it.subjects.entry(bare.clone()).or_default().config
    };
    match method {
        "GET" => match slot {
            Some(config) => (200, config.clone()),
            None if name.is_empty() || call.flag("defaultToGlobal") => (200, global),
            None => refuse(
                40408,
                format!("Subject '{name}' does not have subject-level compatibility configured"),
            ),
        },
        "PUT" => {
            let mut stored = call.body.clone();
            let level = stored.as_object_mut().and_then(|it| it.remove("compatibility"));
            if let Some(level) = level {
                if !LEVELS.iter().any(|it| level == *it) {
                    let known = LEVELS.map(str::to_lowercase).join(", ");
                    return refuse(
                        42203,
                        format!("Invalid compatibility level. Valid values are {known}"),
                    );
                }
                stored["compatibilityLevel"] = level;
            }
            *slot = Some(stored);
            (200, call.body.clone())
        }
        "DELETE" => match slot.take() {
            Some(config) => (200, config),
            None => no_subject(name),
        },
        _ => refuse(405, "HTTP 405 Method Not Allowed"),
    }
}

fn mode(method: &str, call: &Call, state: &mut State, name: &str) -> Answer {
    let (context, bare) = split(name);
    let global = mode_of(state, ".", "");
    let immutable = state.immutable_mode;
    let it = state.context(&context);
    let occupied = if name.is_empty() || bare.is_empty() {
        it.subjects.values().any(Subject::is_live)
    } else {
        it.subjects.get(&bare).is_some_and(Subject::is_live)
    };
    let slot = if is_context(name, &bare) {
        &mut it.mode
    } else {
        &mut it.subjects.entry(bare.clone()).or_default().mode
    };
    match method {
        "GET" => match slot {
            Some(mode) => (200, json!({ "mode": mode })),
            None if name.is_empty() || call.flag("defaultToGlobal") => {
                (200, json!({ "mode": global }))
            }
            None => refuse(
                40409,
                format!("Subject '{name}' does not have subject-level mode configured"),
            ),
        },
        "PUT" | "DELETE" if immutable => refuse(42205, "Mode changes are not allowed"),
        "PUT" => {
            let wanted = call.body["mode"].as_str().unwrap_or_default();
            if !MODES.contains(&wanted) {
                return refuse(42204, "Invalid mode. Valid values are READWRITE, READONLY, IMPORT");
            }
            if wanted == "IMPORT" && occupied && !call.flag("force") {
                return refuse(42205, "Cannot import since found existing subjects");
            }
            *slot = Some(wanted.to_owned());
            (200, json!({ "mode": wanted }))
        }
        "DELETE" => match slot.take() {
            Some(mode) => (200, json!({ "mode": mode })),
            None => no_subject(name),
        },
        _ => refuse(405, "HTTP 405 Method Not Allowed"),
    }
}

pub(super) fn escape(segment: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let each = segment.bytes().map(|byte| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    });
    each.collect()
}

fn unescape(segment: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = segment.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let digits = rest.split_first_chunk::<2>().filter(|_| first == b'%');
        let byte = digits.and_then(|(digits, after)| {
            let byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            rest = after;
            Some(byte)
        });
        bytes.push(byte.unwrap_or(first));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

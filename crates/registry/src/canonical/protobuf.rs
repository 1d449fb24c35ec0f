//! Protobuf as the compiler sees it: a descriptor with every type name resolved.

use std::collections::BTreeMap;
use std::sync::Arc;

use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use protox::prost_reflect::prost::Message;
use protox::prost_reflect::prost_types::{DescriptorProto, FileDescriptorProto};

/// No import can have this name.
const ITSELF: &str = "\u{0}";

/// The encoded descriptor; `None` where the text does not compile.
///
/// Fields are sorted by number. Messages keep their order: records name them by index.
pub(super) fn form(text: &str, imports: &BTreeMap<String, Arc<str>>) -> Option<Vec<u8>> {
    let mut texts = imports.clone();
    texts.insert(ITSELF.to_owned(), text.into());
    let mut resolver = ChainFileResolver::new();
    resolver.add(Texts(texts));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(false).include_source_info(false);
    compiler.open_file(ITSELF).ok()?;
    let mut file: FileDescriptorProto = compiler.file_descriptor_set().file.pop()?;
    file.name = None;
    file.dependency.sort_unstable();
    (file.public_dependency, file.weak_dependency) = Default::default();
    file.message_type.iter_mut().for_each(sort_fields);
    Some(file.encode_to_vec())
}

fn sort_fields(message: &mut DescriptorProto) {
    message.field.sort_unstable_by_key(|it| it.number);
    message.nested_type.iter_mut().for_each(sort_fields);
}

struct Texts(BTreeMap<String, Arc<str>>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(text) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

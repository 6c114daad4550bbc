//! The protos as the source of clients in other languages, and of the output of `grpcurl describe`.

use herald::rpc::pb;
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

fn ours() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap();
    let ours: Vec<_> = set.file.into_iter().filter(|file| file.package() == "herald.v1").collect();
    assert!(ours.len() >= 3, "{}", ours.len());
    ours
}

/// The paths of all items that need a comment of their own (`SourceCodeInfo`): 4 is a message, 5 an
/// enum, 6 a service; in each of them 2 is a field, a value or a method.
fn paths(file: &FileDescriptorProto) -> Vec<(Vec<i32>, String)> {
    let parts = (file.message_type.iter().enumerate()).map(|(at, one)| {
        (4, at, one.name(), one.field.iter().map(prost_types::FieldDescriptorProto::name).collect())
    });
    let parts = parts.chain((file.enum_type.iter().enumerate()).map(|(at, one)| {
        (
            5,
            at,
            one.name(),
            one.value.iter().map(prost_types::EnumValueDescriptorProto::name).collect::<Vec<_>>(),
        )
    }));
    let parts = parts.chain((file.service.iter().enumerate()).map(|(at, one)| {
        (
            6,
            at,
            one.name(),
            one.method.iter().map(prost_types::MethodDescriptorProto::name).collect::<Vec<_>>(),
        )
    }));
    let number = |at: usize| i32::try_from(at).unwrap();
    let mut paths = Vec::new();
    for (kind, at, name, inner) in parts {
        let path = vec![kind, number(at)];
        for (place, part) in inner.into_iter().enumerate() {
            let inner = [&path[..], &[2, number(place)]].concat();
            paths.push((inner, format!("{name}.{part}")));
        }
        paths.push((path, name.to_owned()));
    }
    paths
}

#[test]
fn everything_that_can_be_described_has_its_comment() {
    for file in ours() {
        let info = file.source_code_info.as_ref();
        let info = info.unwrap_or_else(|| panic!("{} is served without comments", file.name()));
        for (path, name) in paths(&file) {
            let place = info.location.iter().find(|place| place.path == path).unwrap();
            let comment = place.leading_comments.as_deref().unwrap_or_default();
            assert!(!comment.trim().is_empty(), "{name} has no comment");
        }
    }
}

/// `protoc` for Go refuses a file without `go_package`; other languages would get awkward names.
#[test]
fn every_file_has_the_options_of_other_languages() {
    for file in ours() {
        let (name, options) = (file.name(), file.options.as_ref().unwrap());
        // protoc-gen-go requires a path with a slash, and the name of the package.
        let (path, package) = options.go_package().split_once(';').unwrap();
        assert!(path.contains('/') && package == "heraldv1", "{name}: {}", options.go_package());
        assert_eq!(options.java_package(), "herald.v1", "{name}");
        assert!(options.java_multiple_files(), "{name}");
        assert!(options.java_outer_classname().ends_with("Proto"), "{name}");
        assert_eq!(options.csharp_namespace(), "Herald.V1", "{name}");
        assert_eq!(options.php_namespace(), "Herald\\V1", "{name}");
        assert_eq!(options.ruby_package(), "Herald::V1", "{name}");
        assert_eq!(options.objc_class_prefix(), "HRD", "{name}");
    }
}

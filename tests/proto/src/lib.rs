//! Makes the messages of the chat of `chat.proto`, and gives messages at random, to compare ours with those of another implementation.
//!
//! The tests of this package hold three things to the one file that says what they are: the Rust of the servers, the Python of the clients, and the bytes that both
//! write. With [`REWRITE`] set, what differs from its source is written anew instead.

mod random;

use std::path::{Path, PathBuf};

use prost_reflect::DescriptorPool;

pub use self::random::{Reach, random};

/// Set to `1`, it makes the tests write the files that they would otherwise compare.
pub const REWRITE: &str = "OVID_REWRITE";

/// The folder where `chat.proto` lies, and what is made of it for the servers.
pub fn proto_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/wire/proto")
}

/// What `chat.proto` says, read without a program from outside.
pub fn descriptors() -> DescriptorPool {
    let set = protox::compile(["chat.proto"], [proto_folder()]).expect("chat.proto can be read");
    DescriptorPool::from_file_descriptor_set(set).expect("chat.proto makes sense")
}

/// What `src/wire/proto/chat.rs` is to hold.
pub fn generated() -> String {
    let set = protox::compile(["chat.proto"], [proto_folder()]).expect("chat.proto can be read");
    let requests =
        set.file.into_iter().map(|file| (prost_build::Module::from_protobuf_package_name("chat"), file));
    let modules =
        prost_build::Config::new().bytes(["."]).generate(requests.collect()).expect("Rust can be made of it");
    modules.into_values().collect()
}

//! What is made of `chat.proto` is what stands beside it.

use ovid_proto::{REWRITE, generated, proto_folder};

#[test]
fn the_rust_of_the_servers_is_current() {
    let path = proto_folder().join("chat.rs");
    let wanted = generated();
    if std::env::var(REWRITE).is_ok_and(|said| said == "1") {
        std::fs::write(&path, &wanted).expect("it can be written");
    }
    let found = std::fs::read_to_string(&path).expect("it is there");
    assert!(
        found == wanted,
        "src/wire/proto/chat.rs is not what chat.proto makes: run this test with {REWRITE}=1 and commit the file"
    );
}

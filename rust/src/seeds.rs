//! The fuzzers' checks on their seeds: `fuzz/checks/NAME.rs` is given every file of `fuzz/seeds/NAME/`.

use std::path::Path;

#[path = "../../fuzz/checks/connection.rs"]
mod connection;
#[path = "../../fuzz/checks/http1.rs"]
pub(crate) mod http1;
#[path = "../../fuzz/checks/json.rs"]
mod json;
#[path = "../../fuzz/checks/request.rs"]
mod request;
#[path = "../../fuzz/checks/sse.rs"]
mod sse;

fn run(name: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let mut seeds: Vec<_> =
        std::fs::read_dir(&folder).expect("seeds").map(|entry| entry.expect("a seed").path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{} is empty", folder.display());
    for seed in seeds {
        println!("{}", seed.display());
        check(&std::fs::read(&seed).expect("a seed"));
    }
}

#[test]
fn connection_seeds() {
    run("connection", connection::check);
}

#[test]
fn http1_seeds() {
    run("http1", http1::check);
}

#[test]
fn json_seeds() {
    run("json", json::check);
}

#[test]
fn request_seeds() {
    run("request", request::check);
}

#[test]
fn sse_seeds() {
    run("sse", sse::check);
}

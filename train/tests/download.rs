//! Downloads are held to their checksum. Needs a build with the feature: `cargo test --release -p hetrain --features download`.
#![cfg(feature = "download")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod util;

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    thread,
};

use util::Dir;

#[test]
fn a_wrong_checksum_leaves_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwrong");
        }
    });
    let dir = Dir::new();
    dir.fails(&["download", "mnist", "--from", &base], &["sha256", "mnist", "ubyte.gz", "help:"]);
    let left = std::fs::read_dir(dir.join("hetrain/mnist")).map_or(0, |files| files.count());
    assert_eq!(left, 0, "a file that failed its checksum stayed");
}

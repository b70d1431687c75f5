use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::mpsc,
    thread,
};

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

use super::*;
use crate::set::hex;

/// A server on this machine that answers every request with `status` and `body`; sends the paths asked.
fn serve(status: &'static str, body: Vec<u8>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/sets/", listener.local_addr().unwrap());
    let (sender, asked) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
            let _ = sender.send(first.split(' ').nth(1).unwrap_or_default().to_owned());
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    (base, asked)
}

fn leaked_files(name: &'static str, body: &[u8]) -> Files {
    let sum: &'static str = Box::leak(hex(&Sha256::digest(body)).into_boxed_str());
    Box::leak(Box::new([(name, sum)]))
}

fn everything_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(everything_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_file_is_fetched_once_and_progress_is_told() {
    let tmp = tempfile::tempdir().unwrap();
    let body = vec![7u8; 200_000];
    let (base, asked) = serve("200 OK", body.clone());
    let files = leaked_files("a.bin", &body);
    let mut seen = Vec::new();
    for _ in 0..2 {
        fetch_all(files, tmp.path(), base.trim_end_matches('/'), &mut |p| seen.push(p)).unwrap();
    }
    assert_eq!(asked.try_iter().collect::<Vec<_>>(), ["/sets/a.bin"]);
    assert_eq!(fs::read(tmp.path().join("a.bin")).unwrap(), body);
    assert_eq!(seen.last(), Some(&Progress { file: "a.bin".into(), done: 200_000, total: Some(200_000) }));
    assert!(seen.is_sorted_by_key(|p| p.done));
}

#[test]
fn other_bytes_than_published_leave_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let (base, asked) = serve("200 OK", b"not the data".to_vec());
    let error = download_from("mnist", tmp.path(), Some(&base), &mut |_| ()).unwrap_err();
    assert!(matches!(&error, DataError::Checksum { expected, .. } if expected == MNIST[0].1), "{error}");
    assert_eq!(asked.recv().unwrap(), "/sets/train-images-idx3-ubyte.gz");
    assert_eq!(everything_below(tmp.path()), Vec::<PathBuf>::new());
}

#[test]
fn refusals_and_dead_servers_name_the_address() {
    let tmp = tempfile::tempdir().unwrap();
    let (base, _asked) = serve("404 Not Found", Vec::new());
    let error = download_from("optdigits", tmp.path(), Some(&base), &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains(&format!("{base}optdigits.tra")) && error.contains("404"), "{error}");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error =
        download_from("mnist", tmp.path(), Some(&format!("http://{closed}")), &mut |_| ()).unwrap_err();
    assert!(matches!(error, DataError::Download { .. }), "{error}");
    assert_eq!(everything_below(tmp.path()), Vec::<PathBuf>::new());
}

#[test]
fn sets_without_a_source_say_where_images_come_from() {
    let error = download("covid-ct", Path::new("."), &mut |_| ()).unwrap_err();
    assert!(matches!(&error, DataError::NotDownloadable { .. }));
    assert!(error.to_string().contains("UCSD-AI4H/COVID-CT"), "{error}");
    assert!(matches!(download("minst", Path::new("."), &mut |_| ()), Err(DataError::UnknownDataset { .. })));
    for known in crate::known() {
        let mut ignore = |_| ();
        let offered = !matches!(
            download_from(known.name, Path::new("/dev/null/x"), Some("http://127.0.0.1:1"), &mut ignore),
            Err(DataError::NotDownloadable { .. })
        );
        assert_eq!(known.download, offered, "{}", known.name);
    }
}

#[test]
fn an_archive_becomes_a_folder() {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let members =
        ["cifar-10-batches-bin/test_batch.bin", "cifar-10-batches-bin/deeper/x", "elsewhere/test_batch.bin"];
    for name in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(name.len() as u64);
        tar.append_data(&mut header, name, name.as_bytes()).unwrap();
    }
    let archive = tar.into_inner().unwrap().finish().unwrap();
    let tmp = tempfile::tempdir().unwrap();
    let files = leaked_files("cifar-10-binary.tar.gz", &archive);
    let (base, asked) = serve("200 OK", archive);
    for _ in 0..2 {
        let dir = cifar(tmp.path(), base.trim_end_matches('/'), files, &mut |_| ()).unwrap();
        assert_eq!(everything_below(tmp.path()), [dir.join("test_batch.bin")]);
        assert_eq!(fs::read(dir.join("test_batch.bin")).unwrap(), members[0].as_bytes());
    }
    assert_eq!(asked.try_iter().count(), 1);
}

#[test]
fn a_broken_archive_leaves_no_folder() {
    let tmp = tempfile::tempdir().unwrap();
    let archive = tmp.path().join("a.tar.gz");
    fs::write(&archive, [0x1f, 0x8b, 8, 0]).unwrap();
    assert!(unpack_folder(&archive, "x", &tmp.path().join("x")).is_err());
    assert_eq!(everything_below(tmp.path()), [archive]);
    assert!(!tmp.path().join("x").exists());
}

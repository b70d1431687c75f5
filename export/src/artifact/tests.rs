use std::path::Path;

use super::*;
use crate::interp::Carried;
use crate::{GraphBuilder, Interval, Op, RangeStats, Tensor};

fn artifact() -> Artifact {
    let mut b = GraphBuilder::default();
    let x = b.input("image", &[1, 2, 2]).unwrap();
    let x = b.push("flatten", Op::Flatten, &[x]).unwrap();
    let x = b
        .linear(
            "fc1",
            x,
            Tensor::new([2, 4], vec![0.5; 8]).unwrap(),
            Some(Tensor::new([2], vec![0.1, 0.2]).unwrap()),
        )
        .unwrap();
    b.push("act", Op::Square { intervals: vec![Interval::new(-2.0, 3.0).unwrap()] }, &[x]).unwrap();
    let mut graph = b.finish().unwrap();
    let mut range = RangeStats::empty("data");
    range.update(&[0.25, 1.0]);
    let n = graph.nodes().len();
    graph.set_ranges(vec![range; n]);
    graph.set_carried(Carried {
        independent: (0..n).map(|node| vec![0.125; node]).collect(),
        bent: vec![[1.0, 0.5, 0.25]; n],
    });
    let merges = vec![[97, 98], [256, 65_535]];
    Artifact { graph, provenance: Provenance { run: "test".into(), merges, ..Provenance::default() } }
}

fn load(bytes: &[u8]) -> Result<Artifact, ExportError> {
    Artifact::from_bytes(bytes, Path::new("m.hemodel"))
}

#[test]
fn what_was_written_is_read() {
    let a = artifact();
    assert_eq!(load(&a.to_bytes().unwrap()).unwrap(), a);
    // A model without merges is written as it was when there were none.
    let plain = Artifact { provenance: Provenance::default(), ..a };
    let bytes = plain.to_bytes().unwrap();
    assert!(!bytes.windows(6).any(|w| w == b"merges"));
    assert_eq!(load(&bytes).unwrap(), plain);
    // As version 1 wrote it, which did not know how errors travel.
    let mut old = plain;
    let n = old.graph.nodes().len();
    old.graph.set_carried(Carried { independent: vec![Vec::new(); n], bent: vec![[0.0; 3]; n] });
    let mut bytes = old.to_bytes().unwrap();
    assert!(!bytes.windows(7).any(|w| w == b"carried") && !bytes.windows(4).any(|w| w == b"bent"));
    let version = br#"version\":2"#;
    let at = bytes.windows(version.len()).position(|w| w == version).unwrap();
    bytes[at + version.len() - 1] = b'1';
    assert_eq!(load(&bytes).unwrap(), old);
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused() {
    let a = artifact();
    let bytes = a.to_bytes().unwrap();
    for cut in 0..bytes.len() {
        assert!(load(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for i in 0..bytes.len() {
        for bit in [0, 3, 7] {
            let mut changed = bytes.clone();
            changed[i] ^= 1 << bit;
            // Header padding and provenance text are not part of the model; the model itself must be intact.
            if let Ok(loaded) = load(&changed) {
                assert_eq!(loaded.graph, a.graph, "byte {i} bit {bit}");
            }
        }
    }
}

#[test]
fn a_valid_digest_makes_no_shape_possible() {
    let refused = |shape: &[usize], words: &str| {
        let mut a = artifact();
        a.graph.nodes.truncate(2);
        a.graph.nodes[0].shape = shape.to_vec();
        a.graph.nodes[1].shape = vec![shape.iter().fold(1, |n, &extent| usize::wrapping_mul(n, extent))];
        let error = load(&a.to_bytes().unwrap()).unwrap_err();
        assert!(matches!(error, ExportError::Damaged { .. }) && error.to_string().contains(words), "{error}");
    };
    refused(&[1 << 22, 1 << 21, 1 << 21], "node `image` holds too many values");
    refused(&[1 << 40], "node `image` holds too many values");
    refused(&[1, 0, 2], "node `image` holds no value");
}

#[test]
fn a_newer_version_and_an_unknown_op_say_so() {
    let text = |from: &str, to: &str| {
        let bytes = artifact().to_bytes().unwrap();
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        let mut changed = bytes;
        changed.splice(at..at + from.len(), to.bytes());
        load(&changed).unwrap_err()
    };
    let quote = |s: &str| s.replace('"', "\\\"");
    assert!(matches!(
        text(&quote("\"version\":2"), &quote("\"version\":9")),
        ExportError::NewerVersion { found: 9, .. }
    ));
    assert!(
        matches!(text(&quote("\"flatten\",\"inputs"), &quote("\"softmax\",\"inputs")), ExportError::UnknownOp { op, .. } if op == "softmax")
    );
}

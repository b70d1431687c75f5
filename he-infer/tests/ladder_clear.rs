//! Rungs 3 and 4: the folded graph in f64 against the packed program in clear slots, node by node.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod common;

use std::sync::Arc;

use he_infer::HeError;
use he_infer::plan::{Bootstrapping, Packing, PlanOptions, PlannedNode, Program, plan};
use he_infer::run::{Observer, Prepared, execute};
use he_infer::slots::{ClearSlots, ClearVec};
use hetrain_export::{Basis, Conv2dGeometry, Graph, Interval, Op, Polynomial, RangeStats, Tensor, interp};

/// Collects every node's elements.
struct Collect<'p>(&'p Program, Vec<Vec<Vec<f64>>>, usize);

impl Observer<ClearSlots> for Collect<'_> {
    fn node(&mut self, i: usize, node: &PlannedNode, value: &[ClearVec]) -> Result<(), HeError> {
        for v in value {
            assert_eq!(v.level, node.level, "level of {}", node.name);
            assert!((v.scale / node.scale - 1.0).abs() < 1e-9, "scale of {}", node.name);
        }
        let slots: Vec<Vec<f64>> = value.iter().map(|v| v.slots.clone()).collect();
        self.1.push(self.0.unpack(i, &slots, self.2));
        Ok(())
    }
}

fn climb(graph: &Arc<Graph>, images: &[Vec<f64>], packing: Packing) -> Program {
    climb_together(graph, images, packing, 1)
}

fn climb_together(graph: &Arc<Graph>, images: &[Vec<f64>], packing: Packing, together: usize) -> Program {
    let options = PlanOptions {
        packing,
        images: together,
        precision_bits: 10,
        bootstrapping: Bootstrapping::Auto,
        embedded: false,
    };
    let program = plan(Arc::clone(graph), options).unwrap();
    let clear = ClearSlots::of(&program);
    let prepared = Prepared::new(&clear, &program).unwrap();
    let per_run = program.images_per_run().min(3);
    for batch in images.chunks(per_run).take(2) {
        let (level, scale) = program.input_level_scale();
        let input = program.pack(batch).unwrap().into_iter().map(|v| clear.fresh(v, level, scale)).collect();
        let mut seen = Collect(&program, Vec::new(), batch.len());
        execute(&clear, &program, &prepared, input, &mut seen).unwrap();
        for (image, pixels) in batch.iter().enumerate() {
            let want = interp::evaluate(graph, pixels).unwrap();
            for (node, (want, got)) in want.iter().zip(&seen.1).enumerate() {
                let size = want.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
                for (a, b) in want.iter().zip(&got[image]) {
                    assert!((a - b).abs() < 1e-6 * size, "{}: {a} {b}", program.nodes[node].name);
                }
            }
        }
    }
    program
}

#[test]
fn networks_in_image_layout() {
    for (graph, images) in [common::mlp(), common::lenet5(), common::residual()] {
        // Three of four places are taken.
        climb_together(&graph, &images, Packing::Image, 4);
        let program = climb(&graph, &images, Packing::Image);
        eprintln!(
            "log n {} levels {} alpha {} rotations {} bits {:.1}",
            program.chain.params.literal().log_n,
            program.chain.primes().len() - 1,
            program.chain.params.literal().alpha,
            program.rotations.len(),
            program.predicted_bits()
        );
    }
}

#[test]
fn attention_of_every_shape() {
    // Copies and none, lengths that are no powers of two, features that are none, one head and several vectors of heads.
    for (shape, causal) in [
        ([2, 4, 16], false),
        ([2, 4, 16], true),
        ([3, 5, 12], false),
        ([3, 5, 12], true),
        ([1, 8, 7], true),
        ([12, 32, 32], false),
        ([12, 32, 32], true),
    ] {
        let (graph, images) = common::attention(shape, causal, 11);
        let program = climb(&graph, &images[..2], Packing::Image);
        eprintln!(
            "{shape:?} causal {causal}: {} rotations, log n {}, {} vectors of scores",
            program.rotations.len(),
            program.chain.params.literal().log_n,
            program.nodes.iter().find(|n| n.name.starts_with("scores")).unwrap().layout.vectors()
        );
        climb_together(&graph, &images[..2], Packing::Image, 2);
    }
}

/// Slots of no element are at zero, far outside.
#[test]
fn a_polynomial_whose_interval_leaves_out_zero() {
    let mut n = common::Net::new(&[4, 5, 5], 3);
    n.conv(3, 1, Conv2dGeometry::new(1, 0));
    n.b.add_tensor("shift", Tensor::new([3], vec![6.0; 3]).unwrap()).unwrap();
    let x = n.x;
    let x = n.op("shifted", Op::Bias { shift: "shift".into() }, &[x]).x;
    let interval = Interval::new(2.0, 10.0).unwrap();
    let coeffs = (0..16).map(|i| f64::from(u8::from(i == 15 || i == 2))).collect();
    let poly = Polynomial::new(Basis::Chebyshev, coeffs, interval).unwrap();
    assert!(poly.eval(0.0).abs() > 1e5);
    n.op("poly", Op::Polynomial { poly }, &[x]).dense(2);
    let (graph, images) = n.finish();
    climb(&graph, &images[..2], Packing::Image);
    climb_together(&graph, &images[..2], Packing::Image, 2);
}

/// What would compute something else than the graph is refused.
#[test]
fn products_that_no_layout_holds_are_refused() {
    let input = || common::Net::new(&[4, 4, 4], 3);
    let point = Conv2dGeometry::new(1, 0);
    let turned = Op::Transpose { axes: [0, 2, 1] };
    let refused = |what: &str, packing, build: &dyn Fn(&mut common::Net)| {
        let mut n = input();
        build(&mut n);
        let (graph, _) = n.finish();
        let options = PlanOptions {
            packing,
            images: 1,
            precision_bits: 10,
            bootstrapping: Bootstrapping::Never,
            embedded: false,
        };
        let error = plan(graph, options).err().unwrap().to_string();
        assert!(error.contains(what), "{what} is not in: {error}");
    };
    refused("mul cannot run", Packing::Batch, &|n| {
        let x = n.x;
        n.conv(4, 1, point);
        let a = n.x;
        n.x = x;
        n.conv(1, 1, point);
        let b = n.x;
        n.op("mul", Op::Mul, &[a, b]).dense(2);
    });
    refused("outside attention", Packing::Image, &|n| {
        let x = n.x;
        n.op("product", Op::MatMul { causal: false, factors: None }, &[x, x]).dense(2);
    });
    refused("a constant after a causal mask", Packing::Image, &|n| {
        n.conv(4, 1, point);
        let x = n.x;
        n.op("causal", Op::Causal, &[x]);
        let (x, shift) = (n.x, n.s.tensor(&[4], 0.5));
        n.b.add_tensor("shift", shift).unwrap();
        n.op("bias", Op::Bias { shift: "shift".into() }, &[x]).dense(2);
    });
    refused("does not read its operands from linear layers", Packing::Image, &|n| {
        n.conv(4, 1, point);
        let x = n.x;
        let row = n.op("row", Op::Row { row: 1 }, &[x]).x;
        let column = n.op("turned", turned.clone(), &[row]).x;
        let scores = n.op("scores", Op::MatMul { causal: false, factors: None }, &[column, row]).x;
        n.op("mixed", Op::MatMul { causal: false, factors: None }, &[scores, column]).dense(2);
    });
    // Queries, keys and values of one attention whose mask is not the same in both products.
    for (causal, masked, again) in [(true, false, false), (false, true, false), (true, true, true)] {
        let what =
            if again { "a causal product of weights and values" } else { "in one of its products only" };
        refused(what, Packing::Image, &|n| {
            let x = n.x;
            let project = |n: &mut common::Net, turn: bool| {
                n.x = x;
                n.conv(4, 1, point);
                let y = n.x;
                if turn {
                    n.op("turned", turned.clone(), &[y]);
                }
                n.x
            };
            let (query, key, value) = (project(n, true), project(n, false), project(n, true));
            n.op("scores", Op::MatMul { causal, factors: None }, &[query, key]);
            let mut weights = n.x;
            if masked {
                weights = n.op("causal", Op::Causal, &[weights]).x;
            }
            n.op("mixed", Op::MatMul { causal: again, factors: None }, &[weights, value]).dense(2);
        });
    }
}

#[test]
fn depth_that_no_ring_holds_is_cut_by_bootstraps() {
    let (graph, images) = common::deep(20);
    assert_eq!(graph.depth(), Some(83));
    let never = PlanOptions {
        packing: Packing::Image,
        images: 1,
        precision_bits: 10,
        bootstrapping: Bootstrapping::Never,
        embedded: false,
    };
    assert!(matches!(plan(Arc::clone(&graph), never), Err(HeError::TooDeep { depth: 83, .. })));

    let program = climb(&graph, &images, Packing::Image);
    let refreshed = program.nodes.iter().filter(|n| n.refreshed);
    for node in refreshed.clone() {
        assert_eq!((node.level, program.level_read(node)), (3, 16), "{}", node.name);
        let reach = node.scale * node.bound / program.chain.params.literal().default_scale;
        assert!((0.5..=1.0).contains(&reach), "{}: values up to {reach} of the interval", node.name);
    }
    // 83 levels: 16 after the last bootstrap, 13 after each other one and before the first.
    assert!(refreshed.count() >= 6);
    assert!(program.key_spec().encapsulation && program.predicted_bits() > 10.0);

    // One value far beyond all others, that a bootstrap has to carry too, is named.
    let mut wild = Graph::clone(&graph);
    let name = program.nodes.iter().find(|n| n.refreshed).unwrap().name.clone();
    let ranges = wild.nodes().iter().map(|n| {
        let range = n.range.clone().unwrap();
        if n.name == name { RangeStats { max: 1e9, ..range } } else { range }
    });
    let ranges = ranges.collect();
    wild.set_ranges(ranges);
    let auto = PlanOptions { bootstrapping: Bootstrapping::Auto, ..never };
    let refused = plan(Arc::new(wild), auto).err().unwrap().to_string();
    assert!(refused.contains(&format!("`{name}` reach 1.0e9")), "{refused}");
}

#[test]
fn networks_in_batch_layout() {
    for (graph, images) in [common::cryptonets(), common::mlp()] {
        climb(&graph, &images, Packing::Batch);
    }
}

#[test]
fn every_kind_of_convolution() {
    for (h, k, stride, padding, dilation, groups) in [
        (8, 3, 1, 1, 1, 1),
        (8, 5, 2, 2, 1, 2),
        (9, 3, 2, 0, 1, 4),
        (7, 2, 3, 1, 1, 1),
        (8, 3, 1, 2, 2, 1),
        (6, 1, 2, 0, 1, 1),
        (6, 3, 1, 3, 1, 1),
        // By patches, inside the image and over its border.
        (8, 2, 2, 0, 1, 1),
        (6, 4, 4, 1, 1, 1),
    ] {
        let mut n = common::Net::new(&[4, h, h], 3);
        n.conv(
            8,
            k,
            Conv2dGeometry { stride: [stride; 2], padding: [padding; 2], dilation: [dilation; 2], groups },
        );
        n.conv(4, 3, Conv2dGeometry::new(1, 1)).dense(3);
        let (graph, images) = n.finish();
        climb(&graph, &images, Packing::Image);
    }
}

#[test]
fn tensors_larger_than_a_vector() {
    let mut n = common::Net::new(&[8, 32, 32], 4);
    n.conv(8, 3, Conv2dGeometry::new(1, 1)).quadratic().conv(16, 3, Conv2dGeometry::new(2, 1)).dense(3);
    let (graph, images) = n.finish();
    let program = climb(&graph, &images, Packing::Image);
    assert!(program.input_vectors() > 1, "the test wants several ciphertexts");
}

#[test]
fn polynomials_of_every_degree_land_on_their_scale_at_minimal_depth() {
    let interval = Interval::new(-2.0, 3.0).unwrap();
    for basis in [Basis::Chebyshev, Basis::Monomial] {
        for degree in [1usize, 2, 3, 4, 5, 7, 8, 12, 15] {
            let mut coeffs: Vec<f64> =
                (0..=degree).map(|i| (1.7 * i as f64 + 1.0).cos() / (1 << i) as f64).collect();
            coeffs[degree / 2] = 0.0;
            let poly = Polynomial::new(basis, coeffs, interval).unwrap();
            let mut n = common::Net::new(&[12], 3);
            n.dense(10);
            let x = n.x;
            n.op("poly", Op::Polynomial { poly: poly.clone() }, &[x]).dense(2);
            let (graph, images) = n.finish();
            assert_eq!(graph.depth(), Some(2 + poly.depth()));
            climb(&graph, &images, Packing::Image);
        }
    }
}

//! Small networks with seeded weights, for climbing the ladder in seconds.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::Arc;

use hetrain_export::{
    Basis, Conv2dGeometry, Graph, GraphBuilder, Interval, NodeId, Op, Polynomial, Tensor, fold, interp,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws weights and images.
pub struct Source(ChaCha8Rng);

impl Source {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub fn tensor(&mut self, shape: &[usize], width: f32) -> Tensor {
        let n = shape.iter().product();
        Tensor::new(shape, (0..n).map(|_| width * (2.0 * self.0.random::<f32>() - 1.0)).collect()).unwrap()
    }

    pub fn image(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.0.random::<f64>()).collect()
    }
}

/// Builds layers the way `hetrain-layers` lowers them.
pub struct Net {
    pub b: GraphBuilder,
    pub s: Source,
    pub x: NodeId,
    count: usize,
}

impl Net {
    pub fn new(shape: &[usize], seed: u64) -> Self {
        let mut b = GraphBuilder::default();
        let x = b.input("image", shape).unwrap();
        Self { b, s: Source::new(seed), x, count: 0 }
    }

    fn name(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}{}", self.count)
    }

    pub fn conv(&mut self, out: usize, k: usize, g: Conv2dGeometry) -> &mut Self {
        let ci = self.b.shape(self.x)[0] / g.groups;
        let width = (3.0 / (ci * k * k) as f32).sqrt();
        let w = self.s.tensor(&[out, ci, k, k], width);
        let bias = self.s.tensor(&[out], 0.3);
        let name = self.name("conv");
        self.x = self.b.conv2d(&name, self.x, w, Some(bias), g).unwrap();
        self
    }

    pub fn dense(&mut self, out: usize) -> &mut Self {
        if self.b.shape(self.x).len() > 1 {
            let name = self.name("flatten");
            self.x = self.b.push(&name, Op::Flatten, &[self.x]).unwrap();
        }
        let n = self.b.shape(self.x)[0];
        let (w, bias) = (self.s.tensor(&[out, n], (3.0 / n as f32).sqrt()), self.s.tensor(&[out], 0.3));
        let name = self.name("dense");
        self.x = self.b.linear(&name, self.x, w, Some(bias)).unwrap();
        self
    }

    pub fn quadratic(&mut self) -> &mut Self {
        let c = self.b.shape(self.x)[0];
        let coeffs: Vec<f32> = (0..c).flat_map(|i| [0.1, 0.5, 0.15 + 0.01 * (i % 5) as f32]).collect();
        let name = self.name("act");
        let interval = vec![Interval::new(-12.0, 12.0).unwrap()];
        self.x = self.b.quadratic(&name, self.x, Tensor::new([c, 3], coeffs).unwrap(), interval).unwrap();
        self
    }

    pub fn op(&mut self, what: &str, op: Op, inputs: &[NodeId]) -> &mut Self {
        let name = self.name(what);
        self.x = self.b.push(&name, op, inputs).unwrap();
        self
    }

    /// Folded, with ranges and ways of errors measured on a few images; and those images.
    pub fn finish(self) -> (Arc<Graph>, Vec<Vec<f64>>) {
        let mut s = self.s;
        let graph = self.b.finish().unwrap();
        let mut graph = fold(&graph).unwrap();
        let n = graph.input_shape().iter().product();
        let images: Vec<Vec<f64>> = (0..8).map(|_| s.image(n)).collect();
        let interpreter = interp::Interpreter::new(&graph).unwrap();
        let ranges = interp::measure(&interpreter, images.iter().map(Vec::as_slice), "test").unwrap();
        drop(interpreter);
        graph.set_ranges(ranges);
        let interpreter = interp::Interpreter::new(&graph).unwrap();
        let carried =
            images.iter().take(4).map(|image| interp::carried(&interpreter, image, || s.0.random()).unwrap());
        let carried = interp::Carried::over(&carried.collect::<Vec<_>>(), graph.nodes().len());
        drop(interpreter);
        graph.set_carried(carried);
        (Arc::new(graph), images)
    }
}

/// 28x28 → conv 32 → conv 64 → 512 → 10, a quadratic after each but the last.
pub fn lenet5() -> (Arc<Graph>, Vec<Vec<f64>>) {
    let mut n = Net::new(&[1, 28, 28], 5);
    n.conv(32, 5, Conv2dGeometry::new(2, 2)).quadratic();
    n.conv(64, 5, Conv2dGeometry::new(2, 2)).quadratic();
    n.dense(512).quadratic().dense(10);
    n.finish()
}

/// 784 → 128 → 128 → 10.
pub fn mlp() -> (Arc<Graph>, Vec<Vec<f64>>) {
    let mut n = Net::new(&[1, 28, 28], 6);
    n.dense(128).quadratic().dense(128).quadratic().dense(10);
    n.finish()
}

/// CryptoNets: conv 5 → 100 → 10.
pub fn cryptonets() -> (Arc<Graph>, Vec<Vec<f64>>) {
    let mut n = Net::new(&[1, 28, 28], 7);
    n.conv(5, 5, Conv2dGeometry::new(2, 1)).quadratic().dense(100).quadratic().dense(10);
    n.finish()
}

/// A residual block with a strided shortcut, then pooling: every way two branches meet.
pub fn residual() -> (Arc<Graph>, Vec<Vec<f64>>) {
    let mut n = Net::new(&[3, 8, 8], 8);
    n.conv(4, 3, Conv2dGeometry::new(1, 1)).quadratic();
    let skip = n.x;
    n.conv(4, 3, Conv2dGeometry::new(1, 1)).quadratic().conv(4, 3, Conv2dGeometry::new(1, 1));
    let branch = n.x;
    n.op("add", Op::Add, &[branch, skip]).quadratic();
    let skip = n.x;
    n.conv(8, 3, Conv2dGeometry::new(2, 1)).quadratic().conv(8, 3, Conv2dGeometry::new(1, 1));
    let branch = n.x;
    n.x = skip;
    n.conv(8, 1, Conv2dGeometry::new(2, 0));
    let shortcut = n.x;
    n.op("add", Op::Add, &[branch, shortcut]);
    let x = n.x;
    n.op("pool", Op::AvgPool { kernel: [2, 2], stride: [2, 2] }, &[x]).dense(5);
    n.finish()
}

/// A residual network of `4 blocks + 3` levels, with activations on sums.
pub fn deep(blocks: usize) -> (Arc<Graph>, Vec<Vec<f64>>) {
    let mut n = Net::new(&[1, 8, 8], 9);
    let g = || Conv2dGeometry::new(1, 1);
    n.conv(2, 3, g()).quadratic();
    for _ in 0..blocks {
        let skip = n.x;
        n.conv(2, 3, g()).quadratic().conv(2, 3, g());
        let branch = n.x;
        n.op("add", Op::Add, &[branch, skip]).quadratic();
    }
    n.dense(3);
    n.finish()
}

/// A ResNet for 32x32 images with `6 blocks + 2` layers, in the shape that `hetrain-layers` lowers.
pub fn resnet(blocks: usize) -> (Arc<Graph>, Vec<Vec<f64>>) {
    let mut n = Net::new(&[3, 32, 32], 10);
    n.conv(16, 3, Conv2dGeometry::new(1, 1)).quadratic();
    for (group, channels) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if group > 0 && block == 0 { 2 } else { 1 };
            let before = n.x;
            n.conv(channels, 3, Conv2dGeometry::new(stride, 1)).quadratic();
            n.conv(channels, 3, Conv2dGeometry::new(1, 1));
            let branch = n.x;
            n.x = before;
            if stride == 2 {
                n.conv(channels, 1, Conv2dGeometry::new(2, 0));
            }
            let around = n.x;
            n.op("add", Op::Add, &[branch, around]).quadratic();
        }
    }
    let x = n.x;
    n.op("pool", Op::AvgPool { kernel: [8, 8], stride: [8, 8] }, &[x]).dense(10);
    n.finish()
}

/// A block of attention with squared scores, divided by a cubic stand-in of their sums, around which the input passes; then a mean
/// over positions and a dense layer.
pub fn attention([heads, width, length]: [usize; 3], causal: bool, seed: u64) -> (Arc<Graph>, Vec<Vec<f64>>) {
    let d = heads * width;
    let mut n = Net::new(&[d, length, 1], seed);
    let positions = n.s.tensor(&[d, length, 1], 0.5);
    n.b.add_tensor("positions", positions).unwrap();
    let around = n.x;
    n.op("embedded", Op::Bias { shift: "positions".into() }, &[around]);
    let (around, split) = (n.x, vec![heads, width, length]);
    let project = |n: &mut Net, turned: bool| {
        n.x = around;
        n.conv(d, 1, Conv2dGeometry::new(1, 0));
        let x = n.x;
        n.op("split", Op::Reshape { shape: split.clone() }, &[x]);
        let x = n.x;
        if turned {
            n.op("turned", Op::Transpose { axes: [0, 2, 1] }, &[x]);
        }
        n.x
    };
    let (query, key, value) = (project(&mut n, true), project(&mut n, false), project(&mut n, true));
    n.op("scores", Op::MatMul { causal, factors: None }, &[query, key]);
    let scores = n.x;
    n.op("squares", Op::Square { intervals: vec![Interval::new(-40.0, 40.0).unwrap()] }, &[scores]);
    let mut weights = n.x;
    let mask = |i: usize| if causal && i % length > i / length { 0.0 } else { 0.1 / length as f32 };
    let mask = (0..length * length).map(mask).collect();
    n.b.add_tensor("mask", Tensor::new([length, length], mask).unwrap()).unwrap();
    n.op("sums", Op::RowSum { weight: "mask".into() }, &[weights]);
    let sums = n.x;
    let poly =
        Polynomial::new(Basis::Chebyshev, vec![0.6, -0.4, 0.1, -0.05], Interval::new(0.0, 3.0).unwrap());
    n.op("inverse", Op::Polynomial { poly: poly.unwrap() }, &[sums]);
    let inverse = n.x;
    if causal {
        n.op("causal", Op::Causal, &[weights]);
        weights = n.x;
    }
    // By query and key; as they are in the division's sums, not.
    let factors = causal.then(|| {
        let wave = |i: usize| 1.0 + 0.9 * (i as f32 * 0.7).sin();
        let values = (0..heads * length * length).map(wave).collect();
        n.b.add_tensor("factors", Tensor::new([heads, length, length], values).unwrap()).unwrap();
        "factors".to_owned()
    });
    n.op("mixed", Op::MatMul { causal: false, factors }, &[weights, value]);
    let mixed = n.x;
    n.op("divided", Op::Mul, &[mixed, inverse]);
    let x = n.x;
    n.op("turned", Op::Transpose { axes: [0, 2, 1] }, &[x]);
    let x = n.x;
    n.op("joined", Op::Reshape { shape: vec![d, length, 1] }, &[x]);
    n.conv(d, 1, Conv2dGeometry::new(1, 0));
    let branch = n.x;
    n.op("add", Op::Add, &[branch, around]);
    let x = n.x;
    n.op("mean", Op::AvgPool { kernel: [length, 1], stride: [1, 1] }, &[x]).dense(5);
    n.finish()
}

//! A linear layer as rotations and plaintext products (single-shot form of Orion, Ebel et al. 2025, on the diagonals of
//! Halevi–Shoup 2014).
//!
//! Row slot `j` collects `Σ_d W_d[j]·x[j + d]`. Offsets split as `d = b + g` into *babies* (hoisted rotations of the input)
//! and *giants* (rotations of partial sums, evaluated by Horner's rule so that one or two keys serve them all):
//!
//! ```text
//! y = S_{g₀} + rot_{g₁−g₀}( S_{g₁} + rot_{g₂−g₁}( S_{g₂} + … ))        S_g[i] = Σ_b W_{b+g}[i − g]·x[i + b]
//! ```
//!
//! An input with more period than the output lets several row blocks share the work; `folds` add them up afterwards.
//! Cost: `|babies|` hoisted rotations, `|giants| − 1 + |folds|` full ones, one plaintext product per diagonal; one level.
#![expect(
    clippy::indexing_slicing,
    reason = "indices follow layouts and shapes that the graph builder has checked"
)]

use std::collections::{BTreeMap, BTreeSet};

use hetrain_export::{Graph, Node, Op};

use super::layout::Layout;
use crate::HeError;

/// One plaintext product: `factor ⊙ rot_baby(input)`.
#[derive(Clone, Debug)]
pub struct Term {
    /// Input vector.
    pub input: usize,
    /// Index into that input's babies.
    pub baby: usize,
    /// Index into [`LinearMap::diagonals`].
    pub diagonal: usize,
}

/// Products that are rotated together.
#[derive(Clone, Debug)]
pub struct Giant {
    /// Rotation still owed by this sum.
    pub step: i32,
    /// Its products.
    pub terms: Vec<Term>,
}

/// A linear layer between two layouts.
#[derive(Clone, Debug)]
pub struct LinearMap {
    /// Rotations of each input vector.
    pub babies: Vec<Vec<i32>>,
    /// For each output vector its giants, by falling step.
    pub outputs: Vec<Vec<Giant>>,
    /// Rotate-and-add steps after the rescaling.
    pub folds: Vec<i32>,
    /// Sparse diagonals, `(slot of one image, weight)`, over one [`LinearMap::period`].
    pub diagonals: Vec<Vec<(u32, f32)>>,
    /// Diagonals repeat after this many slots.
    pub period: usize,
    /// Neighbouring slots with the same weight: of as many interleaved images.
    pub images: usize,
    /// Bias values for each output vector, all slots; empty without bias.
    pub bias: Vec<Vec<f64>>,
    /// Largest Euclidean norm of a row: how much independent noise grows.
    pub gain: f64,
}

/// Relative prices of the two kinds of rotations and of one more key, which decide how offsets are split.
const HOISTED: f64 = 0.45;
const ROTATION: f64 = 1.0;
const KEY: f64 = 0.1;

/// Every non-zero weight of a linear operation as `(output element, input element, weight)`.
pub(crate) fn for_each_weight(
    graph: &Graph,
    node: &Node,
    f: &mut dyn FnMut(usize, usize, f64),
) -> Result<(), HeError> {
    let input = node.inputs.first().and_then(|i| graph.node(*i)).map(|n| n.shape.clone()).unwrap_or_default();
    match &node.op {
        Op::Conv2d { weight, geometry: g, .. } => {
            let t = graph.tensor(node, weight)?;
            let (co, ci, kh, kw) = (t.shape()[0], t.shape()[1], t.shape()[2], t.shape()[3]);
            let (h, w, ho, wo) = (input[1], input[2], node.shape[1], node.shape[2]);
            let tap = |o: usize, k: usize, axis: usize, size: usize| {
                (o * g.stride[axis] + k * g.dilation[axis]).checked_sub(g.padding[axis]).filter(|&i| i < size)
            };
            for o in 0..co {
                for c in 0..ci {
                    let channel = o / (co / g.groups) * ci + c;
                    for ky in 0..kh {
                        for kx in 0..kw {
                            let v = f64::from(t.data()[((o * ci + c) * kh + ky) * kw + kx]);
                            if v == 0.0 {
                                continue;
                            }
                            for y in 0..ho {
                                let Some(iy) = tap(y, ky, 0, h) else { continue };
                                for x in 0..wo {
                                    let Some(ix) = tap(x, kx, 1, w) else { continue };
                                    f((o * ho + y) * wo + x, (channel * h + iy) * w + ix, v);
                                }
                            }
                        }
                    }
                }
            }
        }
        Op::Linear { weight, .. } => {
            let t = graph.tensor(node, weight)?;
            for (r, row) in t.data().chunks_exact(t.shape()[1]).enumerate() {
                for (c, &v) in row.iter().enumerate().filter(|(_, v)| **v != 0.0) {
                    f(r, c, f64::from(v));
                }
            }
        }
        Op::Affine { scale, .. } => {
            let s = graph.tensor(node, scale)?.to_f64();
            let plane = node.shape.iter().product::<usize>() / node.shape[0];
            for e in 0..plane * node.shape[0] {
                f(e, e, s[e / plane]);
            }
        }
        Op::RowSum { weight } => {
            let (t, size) = (graph.tensor(node, weight)?, input[1] * input[2]);
            for i in 0..input.iter().product() {
                let v = f64::from(t.data()[i % size]);
                if v != 0.0 {
                    f(i / input[2], i, v);
                }
            }
        }
        Op::AvgPool { kernel, stride } => {
            let (h, w, ho, wo) = (input[1], input[2], node.shape[1], node.shape[2]);
            let share = 1.0 / (kernel[0] * kernel[1]) as f64;
            for o in 0..node.shape.iter().product() {
                let (c, y, x) = (o / (ho * wo), o / wo % ho, o % wo);
                for ky in 0..kernel[0] {
                    for kx in 0..kernel[1] {
                        f(o, (c * h + y * stride[0] + ky) * w + x * stride[1] + kx, share);
                    }
                }
            }
        }
        op => return Err(HeError::Unfriendly { node: node.name.clone(), op: op.name() }),
    }
    Ok(())
}

/// The bias of a linear operation per output element; `None` without one.
pub(crate) fn bias_values(graph: &Graph, node: &Node) -> Result<Option<Vec<f64>>, HeError> {
    let name = match &node.op {
        Op::Conv2d { bias, .. } | Op::Linear { bias, .. } => bias.as_deref(),
        Op::Affine { shift, .. } | Op::Bias { shift } => Some(shift.as_str()),
        _ => None,
    };
    let Some(name) = name else { return Ok(None) };
    let values = graph.tensor(node, name)?.to_f64();
    let elements: usize = node.shape.iter().product();
    let repeat = elements / values.len();
    Ok(Some((0..elements).map(|e| values[e / repeat]).collect()))
}

/// How offsets are split into babies and giants.
#[derive(Clone, Copy, Debug)]
struct Split {
    pitch: i64,
    modulus: i64,
    low: i64,
    stride: i64,
}

impl Split {
    /// `(baby, giant)` with `baby + giant ≡ d (mod modulus)`.
    fn of(&self, d: i64) -> (i32, i32) {
        let r = signed(d, self.pitch);
        let u = (d - r).rem_euclid(self.modulus) / self.pitch;
        let k = (r - self.low) / self.stride;
        ((r - k * self.stride) as i32, (self.pitch * u + self.stride * k) as i32)
    }

    fn cost(&self, offsets: &[i64]) -> f64 {
        let (mut babies, mut giants) = (BTreeSet::new(), BTreeSet::new());
        for &d in offsets {
            let (b, g) = self.of(d);
            babies.insert(b);
            giants.insert(g);
        }
        let steps: Vec<i32> = giants.iter().copied().collect();
        let keys: BTreeSet<i32> = steps.windows(2).map(|w| w[1] - w[0]).collect();
        let last = f64::from(u8::from(steps.first().is_some_and(|g| *g != 0)));
        let hoisted = babies.iter().filter(|b| **b != 0).count() as f64;
        hoisted * (HOISTED + KEY) + (steps.len() as f64 - 1.0 + last) * ROTATION + keys.len() as f64 * KEY
    }

    /// The cheapest split of a set of offsets: every power-of-two pitch, every stride up to the widest useful one.
    fn best(offsets: &[i64], modulus: i64) -> Self {
        let mut best = Self { pitch: modulus, modulus, low: 0, stride: 1 };
        let mut best_cost = f64::INFINITY;
        let mut pitch = modulus;
        while pitch >= 1 {
            let residues: Vec<i64> = offsets.iter().map(|&d| signed(d, pitch)).collect();
            let low = residues.iter().copied().min().unwrap_or(0);
            let span = residues.iter().copied().max().unwrap_or(0) - low + 1;
            let widest = span.min(1024);
            // Strides near the square root of the span are dense candidates; far above it powers of two suffice.
            let strides = (1..=widest).filter(|s| *s <= 256 || s.count_ones() <= 2 || *s == widest);
            for stride in strides {
                let split = Self { pitch, modulus, low, stride };
                // At least this many giants or babies: skip what cannot win.
                if (offsets.len() as f64 / stride as f64 - 1.0) * ROTATION >= best_cost {
                    continue;
                }
                let cost = split.cost(offsets);
                if cost < best_cost {
                    (best, best_cost) = (split, cost);
                }
            }
            pitch /= 2;
        }
        best
    }
}

/// The residue of `d` modulo `m` in `[−m/2, m/2)`.
fn signed(d: i64, m: i64) -> i64 {
    let r = d.rem_euclid(m);
    if 2 * r >= m && m > 1 { r - m } else { r }
}

impl LinearMap {
    /// The map of `node` from layout `from` to layout `to`.
    ///
    /// # Errors
    /// [`HeError::Unfriendly`] for operations that are not linear.
    pub fn new(graph: &Graph, node: &Node, from: &Layout, to: &Layout) -> Result<Self, HeError> {
        let slots = from.slots();
        let (p_in, p_out) = (from.period(), to.period());
        let (modulus, period) = (p_in.min(p_out) as i64, p_in.max(p_out));
        let mut seen = vec![false; modulus as usize];
        let mut norms = vec![0.0f64; to.elements()];
        let offset = |r: usize, c: usize| ((c % slots) as i64 - (r % slots) as i64).rem_euclid(modulus);
        // Elements that lie nowhere are zero; some lie in several places.
        let each = |f: &mut dyn FnMut(usize, usize, usize, f64)| {
            for_each_weight(graph, node, &mut |o, i, w| {
                if let Some(c) = from.places(i).next() {
                    to.places(o).for_each(|r| f(o, r, c, w));
                }
            })
        };
        each(&mut |o, r, c, w| {
            seen[offset(r, c) as usize] = true;
            norms[o] += w * w;
        })?;
        let offsets: Vec<i64> = (0..modulus).filter(|&d| seen[d as usize]).collect();
        let split = Split::best(&offsets, modulus);
        let mut build = Build::new(from.vectors(), to.vectors());
        each(&mut |_, r, c, w| {
            let (baby, giant) = split.of(offset(r, c));
            let ((vo, r), (vi, c)) = ((r / slots, r % slots), (c / slots, c % slots));
            // Row blocks m with  c − r − m·p_out ≡ baby + giant (mod p_in): one class of them when the input has more
            // period than the output (the folds add the classes), all of them otherwise (the output repeats by itself).
            let rest =
                (c as i64 - r as i64 - i64::from(baby) - i64::from(giant)).rem_euclid(p_in as i64) as usize;
            let (first, every) = if p_in > p_out { (rest / p_out, p_in / p_out) } else { (0, 1) };
            let diagonal = build.diagonal(vo, giant, vi, baby);
            for m in (first..period / p_out).step_by(every) {
                let slot = (r + m * p_out + giant as usize) % period;
                build.diagonals[diagonal].push((slot as u32, w as f32));
            }
        })?;
        let mut folds = Vec::new();
        let mut step = p_out;
        while step < p_in {
            folds.push(step as i32);
            step *= 2;
        }
        let bias = bias_values(graph, node)?.map(|b| to.pack(&[b])).unwrap_or_default();
        let gain = norms.iter().copied().fold(0.0, f64::max).sqrt();
        Ok(build.finish(folds, bias, gain, period))
    }

    /// The same map on `images` interleaved images: every rotation is as many times longer.
    #[must_use]
    pub fn interleaved(mut self, images: usize) -> Self {
        let wide = |step: &mut i32| *step *= images as i32;
        self.babies.iter_mut().flatten().chain(&mut self.folds).for_each(wide);
        self.outputs.iter_mut().flatten().for_each(|giant| wide(&mut giant.step));
        self.bias = interleaved(&self.bias, images);
        Self { period: self.period * images, images: self.images * images, ..self }
    }

    /// Number of plaintext products.
    pub fn products(&self) -> usize {
        self.diagonals.len()
    }

    /// The values of one diagonal, all slots.
    pub fn diagonal(&self, index: usize, slots: usize) -> Vec<f64> {
        let mut values = vec![0.0; self.period];
        for &(slot, w) in self.diagonals.get(index).into_iter().flatten() {
            // Two weights meet in one slot only where two kernel taps read the same element.
            let first = slot as usize * self.images;
            values.iter_mut().skip(first).take(self.images).for_each(|v| *v += f64::from(w));
        }
        values.repeat(slots / self.period)
    }
}

/// Slot values of one image for `images` interleaved ones.
pub(super) fn interleaved(vectors: &[Vec<f64>], images: usize) -> Vec<Vec<f64>> {
    let wide = |v: &Vec<f64>| v.iter().flat_map(|x| std::iter::repeat_n(*x, images)).collect();
    vectors.iter().map(wide).collect()
}

type Place = (usize, i32, usize, i32);

struct Build {
    index: BTreeMap<Place, usize>,
    last: Option<(Place, usize)>,
    diagonals: Vec<Vec<(u32, f32)>>,
    inputs: usize,
    outputs: usize,
}

impl Build {
    fn new(inputs: usize, outputs: usize) -> Self {
        Self { index: BTreeMap::new(), last: None, diagonals: Vec::new(), inputs, outputs }
    }

    fn diagonal(&mut self, output: usize, giant: i32, input: usize, baby: i32) -> usize {
        let place = (output, giant, input, baby);
        if let Some((p, d)) = self.last
            && p == place
        {
            return d;
        }
        let next = self.diagonals.len();
        let d = *self.index.entry(place).or_insert(next);
        if d == next {
            self.diagonals.push(Vec::new());
        }
        self.last = Some((place, d));
        d
    }

    fn finish(self, folds: Vec<i32>, bias: Vec<Vec<f64>>, gain: f64, period: usize) -> LinearMap {
        let mut babies: Vec<BTreeSet<i32>> = vec![BTreeSet::new(); self.inputs];
        for &(_, _, input, baby) in self.index.keys() {
            babies[input].insert(baby);
        }
        let babies: Vec<Vec<i32>> = babies.into_iter().map(|s| s.into_iter().collect()).collect();
        let mut outputs: Vec<BTreeMap<i32, Vec<Term>>> = vec![BTreeMap::new(); self.outputs];
        for (&(output, giant, input, baby), &diagonal) in &self.index {
            let baby = babies[input].binary_search(&baby).unwrap_or(0);
            outputs[output].entry(giant).or_default().push(Term { input, baby, diagonal });
        }
        let outputs = outputs
            .into_iter()
            .map(|giants| giants.into_iter().rev().map(|(step, terms)| Giant { step, terms }).collect())
            .collect();
        LinearMap { babies, outputs, folds, diagonals: self.diagonals, period, images: 1, bias, gain }
    }
}

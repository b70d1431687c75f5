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

use hetrain_export::{Graph, Node};

use super::layout::Layout;
use super::shared::Shared;
use super::split::Split;
use super::weights::{bias_values, for_each_channel_weight, for_each_weight, separate_pixels, sketched};
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
    /// Where each weight of a diagonal stands once more, in slots of one image from its own on: 0, and what the same channel's other
    /// pixels are away, where pixels are not mixed.
    pub repeats: Vec<u32>,
    /// Neighbouring slots with the same weight: of as many interleaved images.
    pub images: usize,
    /// Bias values for each output vector, all slots; empty without bias.
    pub bias: Shared<Vec<f64>>,
    /// Whether the weights are only sketched: `diagonals` has as many as there are, without values.
    pub sketched: bool,
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
        let offset = |r: usize, c: usize| ((c % slots) as i64 - (r % slots) as i64).rem_euclid(modulus);
        let pixels = separate_pixels(graph, node);
        let repeats =
            pixels.and_then(|p| from.pixels(p, true).filter(|at| to.pixels(p, false).as_ref() == Some(at)));
        // Elements that lie nowhere are zero; some lie in several places.
        let each = |f: &mut dyn FnMut(usize, usize, f64)| {
            let mut placed = |o: usize, i: usize, w: f64| {
                if let Some(c) = from.places(i).next() {
                    to.places(o).for_each(|r| f(r, c, w));
                }
            };
            match (&repeats, pixels) {
                (Some(_), Some(pixels)) => for_each_channel_weight(graph, node, pixels, &mut placed),
                _ => for_each_weight(graph, node, &mut placed),
            }
        };
        // Which offsets occur between which vectors.
        let (inputs, outputs) = (from.vectors(), to.vectors());
        let sketched = sketched(graph, node).is_some_and(|w| w != 0.0);
        let seen = match pixels.filter(|_| sketched && repeats.is_some()) {
            Some(pixels) => dense(from, to, pixels, modulus),
            None => {
                let mut seen = vec![false; inputs * outputs * modulus as usize];
                each(&mut |r, c, _| {
                    seen[(r / slots * inputs + c / slots) * modulus as usize + offset(r, c) as usize] = true;
                })?;
                seen
            }
        };
        let met = |d: &i64| seen.iter().skip(*d as usize).step_by(modulus as usize).any(|s| *s);
        let offsets: Vec<i64> = (0..modulus).filter(met).collect();
        let split = Split::best(&offsets, modulus);
        let mut build = Build::new(inputs, outputs);
        if sketched {
            for (place, _) in seen.iter().enumerate().filter(|(_, seen)| **seen) {
                let (pair, d) = (place / modulus as usize, (place % modulus as usize) as i64);
                let (baby, giant) = split.of(d);
                build.diagonal(pair / inputs, giant, pair % inputs, baby);
            }
        } else {
            each(&mut |r, c, w| {
                let (baby, giant) = split.of(offset(r, c));
                let ((vo, r), (vi, c)) = ((r / slots, r % slots), (c / slots, c % slots));
                // Row blocks m with  c − r − m·p_out ≡ baby + giant (mod p_in): one class of them when the input has more
                // period than the output (the folds add the classes), all of them otherwise (the output repeats by itself).
                let rest = (c as i64 - r as i64 - i64::from(baby) - i64::from(giant)).rem_euclid(p_in as i64)
                    as usize;
                let (first, every) = if p_in > p_out { (rest / p_out, p_in / p_out) } else { (0, 1) };
                let diagonal = build.diagonal(vo, giant, vi, baby);
                for m in (first..period / p_out).step_by(every) {
                    let slot = (r + m * p_out + giant as usize) % period;
                    build.diagonals[diagonal].push((slot as u32, w as f32));
                }
            })?;
        }
        let mut folds = Vec::new();
        let mut step = p_out;
        while step < p_in {
            folds.push(step as i32);
            step *= 2;
        }
        let bias = bias_values(graph, node)?.map_or_else(Shared::empty, |b| Shared::new(to.pack(&[b])));
        let repeats = repeats.unwrap_or_else(|| vec![0]);
        Ok(Self { folds, period, repeats, bias, sketched, ..build.finish() })
    }

    /// The same map on `images` interleaved images: every rotation is as many times longer.
    #[must_use]
    pub fn interleaved(mut self, images: usize) -> Self {
        let wide = |step: &mut i32| *step *= images as i32;
        self.babies.iter_mut().flatten().chain(&mut self.folds).for_each(wide);
        self.outputs.iter_mut().flatten().for_each(|giant| wide(&mut giant.step));
        self.bias = self.bias.interleaved(images);
        Self { period: self.period * images, images: self.images * images, ..self }
    }

    /// Number of plaintext products.
    pub fn products(&self) -> usize {
        self.diagonals.len()
    }

    /// The values of one diagonal, all slots.
    pub fn diagonal(&self, index: usize, slots: usize) -> Vec<f64> {
        let mut values = vec![0.0; self.period];
        let weights = self.diagonals.get(index).into_iter().flatten();
        for (slot, w) in weights.flat_map(|(slot, w)| self.repeats.iter().map(move |r| (slot + r, w))) {
            // Two weights meet in one slot only where two kernel taps read the same element.
            let first = slot as usize * self.images % self.period;
            values.iter_mut().skip(first).take(self.images).for_each(|v| *v += f64::from(*w));
        }
        values.repeat(slots / self.period)
    }
}

/// Which offsets occur between which vectors, if every channel of the output reads every channel of the input: `[outputs, inputs,
/// modulus]`. Vectors are filled alike, so few pairs of them differ.
fn dense(from: &Layout, to: &Layout, pixels: usize, modulus: i64) -> Vec<bool> {
    let slots = from.slots();
    let residues = |layout: &Layout, take: usize| -> Vec<Vec<i64>> {
        let mut found = vec![BTreeSet::new(); layout.vectors()];
        for place in (0..layout.elements()).step_by(pixels).flat_map(|e| layout.places(e).take(take)) {
            found[place / slots].insert((place % slots) as i64 % modulus);
        }
        found.into_iter().map(|set| set.into_iter().collect()).collect()
    };
    let (columns, rows) = (residues(from, 1), residues(to, usize::MAX));
    let mut known: BTreeMap<(&[i64], &[i64]), Vec<bool>> = BTreeMap::new();
    let mut seen = Vec::with_capacity(rows.len() * columns.len() * modulus as usize);
    for (rows, columns) in rows.iter().flat_map(|r| columns.iter().map(move |c| (r, c))) {
        let offsets = known.entry((rows, columns)).or_insert_with(|| {
            let mut offsets = vec![false; modulus as usize];
            for c in columns {
                rows.iter().for_each(|r| offsets[(c - r).rem_euclid(modulus) as usize] = true);
            }
            offsets
        });
        seen.extend_from_slice(offsets);
    }
    seen
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

    /// The map without folds, period, repeats and bias.
    fn finish(self) -> LinearMap {
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
        LinearMap {
            babies,
            outputs,
            folds: Vec::new(),
            diagonals: self.diagonals,
            period: 1,
            repeats: Vec::new(),
            images: 1,
            bias: Shared::empty(),
            sketched: false,
        }
    }
}

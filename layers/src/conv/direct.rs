//! Convolution of a batch and its two gradients, on the processor.

use rayon::prelude::*;

use super::geometry::Geometry;
use super::kernel::{BLOCK, Correlate, InnerProducts};

/// Bytes of planes and gradients that are worked on while the second-level cache holds them.
const CACHED: usize = 512 << 10;

impl Geometry {
    fn image(&self) -> usize {
        self.ci * self.h * self.w
    }

    fn output(&self) -> usize {
        self.co * self.oh * self.ow
    }

    /// Where the terms of `(channel, tap)` begin in the planes of an image.
    fn plane_terms(&self) -> Vec<usize> {
        let channels = (0..self.ci).map(|c| c * self.planes());
        channels.flat_map(|c| self.taps().map(move |(plane, at)| (c + plane) * self.plane + at)).collect()
    }

    /// `y[n] = x[n] * weight`, with weights `[co, ci, k, k]`.
    pub(super) fn forward(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let terms = self.plane_terms();
        let count = terms.len();
        let weights = blocked(self.co, count, |o, t| weight.get(o * count + t).copied());
        let mut y = vec![0.0; x.len() / self.image().max(1) * self.output()];
        let scratch = || (vec![0.0; self.planes_len()], vec![0.0; self.co * self.flat]);
        let images = y.par_chunks_mut(self.output()).zip(x.par_chunks(self.image()));
        images.for_each_init(scratch, |(planes, flat), (y, x)| {
            self.spread(x, planes);
            let (source, out) = (&planes[..], &mut flat[..]);
            Correlate { source, terms: &terms, weights: &weights, out, length: self.flat }.run();
            for (to, from) in self.output_rows(0, self.flat) {
                if let (Some(to), Some(from)) = (y.get_mut(to), flat.get(from)) {
                    to.copy_from_slice(from);
                }
            }
        });
        y
    }

    /// Gradient by `x`, from the gradient by `y`.
    pub(super) fn backward_x(&self, weight: &[f32], dy: &[f32]) -> Vec<f32> {
        let taps: Vec<_> = self.taps().collect();
        let length = self.gradient();
        // For each plane, the taps that read it; then (output channel, tap) are the terms.
        let passes: Vec<_> = (0..self.planes())
            .map(|plane| {
                let here: Vec<_> = taps.iter().enumerate().filter(|(_, (p, _))| *p == plane).collect();
                let pairs: Vec<_> =
                    (0..self.co).flat_map(|o| here.iter().map(move |(t, (_, at))| (o, *t, *at))).collect();
                let terms: Vec<_> = pairs.iter().map(|(o, _, at)| o * length + self.margin - at).collect();
                let weights = blocked(self.ci, pairs.len(), |c, term| {
                    let (o, t, _) = pairs.get(term)?;
                    weight.get((o * self.ci + c) * taps.len() + t).copied()
                });
                (terms, weights)
            })
            .collect();
        let mut dx = vec![0.0; dy.len() / self.output().max(1) * self.image()];
        let scratch = || {
            let planes = vec![0.0; self.planes_len()];
            (vec![0.0; self.co * length], vec![0.0; self.ci * self.plane_flat], planes)
        };
        let images = dx.par_chunks_mut(self.image()).zip(dy.par_chunks(self.output()));
        images.for_each_init(scratch, |(flat, out, planes), (dx, dy)| {
            self.flatten(dy, flat);
            for (plane, (terms, weights)) in passes.iter().enumerate() {
                if terms.is_empty() {
                    out.fill(0.0);
                } else {
                    let (source, out) = (&flat[..], &mut out[..]);
                    Correlate { source, terms, weights, out, length: self.plane_flat }.run();
                }
                let channels = planes.chunks_mut(self.plane).skip(plane).step_by(self.planes());
                for (to, from) in channels.zip(out.chunks(self.plane_flat)) {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                }
            }
            self.collect(planes, dx);
        });
        dx
    }

    /// Gradient by the weights. Images are summed in groups of a fixed size, and these in order: the same bits for any number
    /// of threads.
    pub(super) fn backward_weight(&self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        let terms = self.plane_terms();
        let length = self.gradient();
        let size = self.co * terms.len();
        let bytes = 4 * (self.planes_len() + self.co * length);
        let group = (CACHED / bytes).max(1);
        let images = x.par_chunks(group * self.image()).zip(dy.par_chunks(group * self.output()));
        let sums = images.map_init(
            || (vec![0.0; group * self.planes_len()], vec![0.0; group * self.co * length]),
            |(planes, flat), (x, dy)| {
                let mut out = vec![0.0; size];
                let mut count = 0;
                let places = planes.chunks_mut(self.planes_len()).zip(flat.chunks_mut(self.co * length));
                for ((planes, flat), (x, dy)) in
                    places.zip(x.chunks(self.image()).zip(dy.chunks(self.output())))
                {
                    self.spread(x, planes);
                    self.flatten(dy, flat);
                    count += 1;
                }
                let images = [self.co * length, self.planes_len()];
                let left = flat.get(self.margin..count * images[0]).unwrap_or(&[]);
                let right = planes.get(..count * images[1]).unwrap_or(&[]);
                let (out_ref, length) = (&mut out[..], self.flat);
                let terms = &terms;
                InnerProducts {
                    left,
                    left_stride: self.gradient(),
                    images,
                    right,
                    terms,
                    out: out_ref,
                    length,
                }
                .run();
                out
            },
        );
        let sums: Vec<Vec<f32>> = sums.collect();
        let mut total = vec![0.0; size];
        for sum in sums {
            total.iter_mut().zip(sum).for_each(|(t, s)| *t += s);
        }
        total
    }

    /// An output gradient `[co, oh, ow]` in flat form; between its rows, zeros stay.
    fn flatten(&self, dy: &[f32], flat: &mut [f32]) {
        for (from, to) in self.output_rows(self.margin, self.gradient()) {
            if let (Some(to), Some(from)) = (flat.get_mut(to), dy.get(from)) {
                to.copy_from_slice(from);
            }
        }
    }
}

/// `[outputs / BLOCK, terms, BLOCK]` from `weight(output, term)`, zero where there is none.
fn blocked(outputs: usize, terms: usize, weight: impl Fn(usize, usize) -> Option<f32>) -> Vec<f32> {
    let mut packed = Vec::with_capacity(outputs.next_multiple_of(BLOCK) * terms);
    for first in (0..outputs).step_by(BLOCK) {
        for t in 0..terms {
            let block = (first..first + BLOCK).map(|o| if o < outputs { weight(o, t) } else { None });
            packed.extend(block.map(Option::unwrap_or_default));
        }
    }
    packed
}

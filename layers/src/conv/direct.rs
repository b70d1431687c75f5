//! Convolution of a batch and its two gradients, on the processor.

use std::borrow::Cow;

use rayon::prelude::*;

use super::geometry::{Geometry, Stack};
use super::kernel::{BLOCK, Correlate, InnerProducts};

/// Bytes of planes, and of what is summed from them, that are worked on while the second-level cache holds them.
const CACHED: usize = 256 << 10;

/// Places of one thread to work in. What is zero stays zero as long as the number of images stays.
struct Scratch {
    images: usize,
    planes: Vec<f32>,
    flat: Vec<f32>,
}

impl Scratch {
    fn new(planes: usize, flat: usize) -> Self {
        Self { images: 0, planes: vec![0.0; planes], flat: vec![0.0; flat] }
    }
}

impl Geometry {
    fn image(&self) -> usize {
        self.ci * self.h * self.w
    }

    fn output(&self) -> usize {
        self.co * self.oh * self.ow
    }

    /// As many of `images` as are worked on together, within so many bytes.
    fn group(&self, images: usize, bytes: usize) -> Stack<'_> {
        let words = (self.ci * self.planes() + self.co) * self.step;
        self.stack((bytes / (4 * words).max(1)).clamp(1, images.max(1)))
    }

    /// `y[n] = x[n] * weight`, with weights `[co, ci, k, k]`.
    pub(super) fn forward(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let images = x.len() / self.image().max(1);
        let full = self.group(images, CACHED);
        let all = full.terms();
        let weights = blocked(self.co, all.len(), |o, t| weight.get(o * all.len() + t).copied());
        let mut y = vec![0.0; images * self.output()];
        let scratch = || Scratch::new(full.planes_len(), self.co * full.flat);
        let groups = y.par_chunks_mut(full.images * self.output());
        let groups = groups.zip(x.par_chunks(full.images * self.image()));
        groups.for_each_init(scratch, |scratch, (y, x)| {
            let (stack, terms) = self.part(&full, &all, x.len() / self.image(), scratch);
            let Scratch { planes, flat, .. } = scratch;
            for (i, x) in x.chunks(self.image()).enumerate() {
                stack.spread(i, x, planes);
            }
            let (source, out) = (&planes[..], flat.get_mut(..self.co * stack.flat).unwrap_or(&mut []));
            Correlate { source, terms: &terms, weights: &weights, out, length: stack.flat }.run();
            for (i, y) in y.chunks_mut(self.output()).enumerate() {
                for (to, from) in stack.output_rows(i, 0, stack.flat) {
                    if let (Some(to), Some(from)) = (y.get_mut(to), flat.get(from)) {
                        to.copy_from_slice(from);
                    }
                }
            }
        });
        y
    }

    /// A stack of the images there are and its terms: the full one, or at the end of a batch a smaller one, which has its zeros in
    /// other places.
    fn part<'a>(
        &'a self,
        full: &Stack<'a>,
        terms: &'a [usize],
        images: usize,
        scratch: &mut Scratch,
    ) -> (Stack<'a>, Cow<'a, [usize]>) {
        if images != scratch.images {
            scratch.planes.fill(0.0);
            scratch.flat.fill(0.0);
            scratch.images = images;
        }
        if images == full.images {
            return (*full, Cow::Borrowed(terms));
        }
        let stack = self.stack(images);
        (stack, Cow::Owned(stack.terms()))
    }

    /// Gradient by `x`, from the gradient by `y`.
    pub(super) fn backward_x(&self, weight: &[f32], dy: &[f32]) -> Vec<f32> {
        let taps: Vec<_> = self.taps().collect();
        // For each plane, the taps that read it; then (output channel, tap) are the terms.
        let passes: Vec<_> = (0..self.planes())
            .map(|plane| {
                let here: Vec<_> = taps.iter().enumerate().filter(|(_, (p, _))| *p == plane).collect();
                let pairs: Vec<_> =
                    (0..self.co).flat_map(|o| here.iter().map(move |(t, (_, at))| (o, *t, *at))).collect();
                let weights = blocked(self.ci, pairs.len(), |c, term| {
                    let (o, t, _) = pairs.get(term)?;
                    weight.get((o * self.ci + c) * taps.len() + t).copied()
                });
                (pairs, weights)
            })
            .collect();
        let images = dy.len() / self.output().max(1);
        let full = self.group(images, CACHED);
        let mut dx = vec![0.0; images * self.image()];
        let scratch = || Scratch::new(self.ci * self.planes() * full.plane_flat, self.co * full.gradient());
        let groups = dx.par_chunks_mut(full.images * self.image());
        let groups = groups.zip(dy.par_chunks(full.images * self.output()));
        groups.for_each_init(scratch, |scratch, (dx, dy)| {
            let (stack, _) = self.part(&full, &[], dy.len() / self.output(), scratch);
            let Scratch { planes, flat, .. } = scratch;
            let (length, words) = (stack.gradient(), stack.plane_flat);
            self.flatten(&stack, dy, flat);
            for (phase, (pairs, weights)) in passes.iter().enumerate() {
                let out = planes.get_mut(phase * self.ci * words..(phase + 1) * self.ci * words);
                let out = out.unwrap_or(&mut []);
                if pairs.is_empty() {
                    out.fill(0.0);
                    continue;
                }
                let terms: Vec<_> = pairs.iter().map(|(o, _, at)| o * length + self.margin - at).collect();
                Correlate { source: flat, terms: &terms, weights, out, length: words }.run();
            }
            for (i, dx) in dx.chunks_mut(self.image()).enumerate() {
                stack.collect(i, planes, dx);
            }
        });
        dx
    }

    /// Gradient by the weights. Images are summed in groups of a fixed size, and these in order: the same bits for any number
    /// of threads.
    pub(super) fn backward_weight(&self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        let full = self.group(x.len() / self.image().max(1), 2 * CACHED);
        let all = full.terms();
        let size = self.co * all.len();
        let groups = x.par_chunks(full.images * self.image());
        let groups = groups.zip(dy.par_chunks(full.images * self.output()));
        let scratch = || Scratch::new(full.planes_len(), self.co * full.gradient());
        let sums = groups.map_init(scratch, |scratch, (x, dy)| {
            let (stack, terms) = self.part(&full, &all, x.len() / self.image(), scratch);
            let Scratch { planes, flat, .. } = scratch;
            for (i, x) in x.chunks(self.image()).enumerate() {
                stack.spread(i, x, planes);
            }
            self.flatten(&stack, dy, flat);
            let mut out = vec![0.0; size];
            let left = flat.get(self.margin..).unwrap_or(&[]);
            let (left_stride, length) = (stack.gradient(), stack.flat);
            InnerProducts { left, left_stride, right: planes, terms: &terms, out: &mut out, length }.run();
            out
        });
        let sums: Vec<Vec<f32>> = sums.collect();
        let mut total = vec![0.0; size];
        for sum in sums {
            total.iter_mut().zip(sum).for_each(|(t, s)| *t += s);
        }
        total
    }

    /// Output gradients `[n, co, oh, ow]` in flat form; between their rows, zeros stay.
    fn flatten(&self, stack: &Stack<'_>, dy: &[f32], flat: &mut [f32]) {
        for (i, dy) in dy.chunks(self.output()).enumerate() {
            for (from, to) in stack.output_rows(i, self.margin, stack.gradient()) {
                if let (Some(to), Some(from)) = (flat.get_mut(to), dy.get(from)) {
                    to.copy_from_slice(from);
                }
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

//! The operations on the processor's backend: rows in parallel, sums over rows in a fixed order.

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::TensorData;
use rayon::prelude::*;

use super::Series;
use super::kernel::{self, Curve};
use super::op::PointwiseBackend;

/// Values of a `[batch, channels, ...]` tensor, and how they lie.
struct Rows {
    tensor: FlexTensor,
    channels: usize,
    length: usize,
}

impl Rows {
    fn new(tensor: FlexTensor) -> Self {
        let tensor = tensor.to_contiguous();
        let dims = tensor.shape().to_vec();
        let channels = dims.get(1).copied().unwrap_or(1).max(1);
        let length = dims.iter().skip(2).product::<usize>().max(1);
        Self { tensor, channels, length }
    }

    fn values(&self) -> &[f32] {
        self.tensor.as_slice().unwrap_or_default()
    }

    /// Values of each channel in all images.
    fn per_channel(&self) -> f64 {
        self.values().len() as f64 / self.channels as f64
    }

    /// Apply `f(channel, row, row of the result)` everywhere; the result, and what each row returned, by channel.
    fn map<R: Send + Default>(
        &self,
        f: impl Fn(usize, &[f32], &mut [f32], usize) -> R + Sync,
    ) -> (FlexTensor, Vec<R>) {
        let x = self.values();
        let mut y = vec![0f32; x.len()];
        let rows = y.par_chunks_mut(self.length).zip(x.par_chunks(self.length)).enumerate();
        let out = rows.with_min_len(self.grain()).map(|(i, (y, x))| f(i % self.channels, x, y, i)).collect();
        (FlexTensor::from_data(TensorData::new(y, self.tensor.shape())), out)
    }

    /// What `f(channel, row)` returns for every row.
    fn look<R: Send>(&self, f: impl Fn(usize, &[f32]) -> R + Sync) -> Vec<R> {
        let rows = self.values().par_chunks(self.length).enumerate();
        rows.with_min_len(self.grain()).map(|(i, x)| f(i % self.channels, x)).collect()
    }

    /// Row `index`.
    fn row(&self, index: usize) -> &[f32] {
        self.values().get(index * self.length..(index + 1) * self.length).unwrap_or_default()
    }

    /// Rows worth a task of their own.
    fn grain(&self) -> usize {
        (16 << 10) / self.length + 1
    }

    /// Sums of what rows returned, for each channel.
    fn by_channel<const K: usize>(&self, rows: &[[f64; K]]) -> Vec<[f64; K]> {
        let mut out = vec![[0.0; K]; self.channels];
        for row in rows.chunks(self.channels) {
            for (sums, terms) in out.iter_mut().zip(row) {
                sums.iter_mut().zip(terms).for_each(|(s, t)| *s += t);
            }
        }
        out
    }
}

fn host(tensor: FlexTensor) -> Vec<f32> {
    tensor.to_contiguous().as_slice::<f32>().unwrap_or_default().to_vec()
}

fn at(values: &[f32], i: usize) -> f32 {
    values.get(i).copied().unwrap_or(f32::NAN)
}

fn vector(values: Vec<f32>) -> FlexTensor {
    let length = values.len();
    FlexTensor::from_data(TensorData::new(values, [length]))
}

fn curve(coefficients: &[f32], channels: usize, channel: usize, relu: f32, limit: f32) -> Curve {
    let [a, b, c] = [0, 1, 2].map(|k| at(coefficients, k * channels + channel));
    Curve { a, b, c, relu, limit }
}

impl PointwiseBackend for Flex {
    fn standardise(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        epsilon: f64,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let x = Rows::new(x);
        let (gamma, beta) = (host(gamma), host(beta));
        let (count, length) = (x.per_channel(), x.length as f64);
        let rows = x.look(|_, row| kernel::moments(row));
        let means: Vec<f64> = x.by_channel(&rows).iter().map(|[sum, _]| sum / count).collect();
        // Squares about the mean of the channel from those about the means of the rows (Chan, Golub and LeVeque 1983).
        let moved: Vec<[f64; 1]> = rows
            .iter()
            .enumerate()
            .map(|(i, [sum, squares])| {
                let mean = means.get(i % x.channels).copied().unwrap_or(f64::NAN);
                [squares + length * (sum / length - mean).powi(2)]
            })
            .collect();
        let variances: Vec<f64> = x.by_channel(&moved).iter().map(|[sum]| sum / count).collect();
        let affine: Vec<[f32; 2]> = (means.iter().zip(&variances).zip(gamma.iter().zip(&beta)))
            .map(|((mean, variance), (gamma, beta))| {
                let scale = f64::from(*gamma) / (variance + epsilon).sqrt();
                [scale as f32, (f64::from(*beta) - scale * mean) as f32]
            })
            .collect();
        let (y, _) = x.map(|channel, x, y, _| {
            let [scale, shift] = affine.get(channel).copied().unwrap_or([f32::NAN; 2]);
            kernel::affine(x, y, scale, shift);
        });
        let single = |v: Vec<f64>| vector(v.into_iter().map(|v| v as f32).collect());
        (y, single(means), single(variances))
    }

    fn standardise_backward(
        x: FlexTensor,
        gamma: FlexTensor,
        mean: FlexTensor,
        variance: FlexTensor,
        epsilon: f64,
        grad: FlexTensor,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let (x, g) = (Rows::new(x), Rows::new(grad));
        let (gamma, mean, variance) = (host(gamma), host(mean), host(variance));
        let count = x.per_channel();
        let rows: Vec<[f64; 2]> = {
            let gs = g.values().par_chunks(g.length);
            let rows = x.values().par_chunks(x.length).zip(gs).enumerate().with_min_len(x.grain());
            rows.map(|(i, (x, g))| kernel::correlate(x, g, at(&mean, i % mean.len()))).collect()
        };
        let sums = x.by_channel(&rows);
        // dx = γ/σ·(g − Σg/n − x̂·Σ(g·x̂)/n) with x̂ = (x − μ)/σ.
        let (mut by_gamma, mut by_beta, mut factors) = (Vec::new(), Vec::new(), Vec::new());
        for (c, [sum, moved]) in sums.iter().enumerate() {
            let deviation = (f64::from(at(&variance, c)) + epsilon).sqrt();
            let (scale, mean) = (f64::from(at(&gamma, c)) / deviation, f64::from(at(&mean, c)));
            let slope = -scale * moved / (deviation * deviation * count);
            by_gamma.push((moved / deviation) as f32);
            by_beta.push(*sum as f32);
            factors.push([scale as f32, slope as f32, (-scale * sum / count - slope * mean) as f32]);
        }
        let (dx, _) = x.map(|channel, x, dx, i| {
            kernel::combine(x, g.row(i), dx, factors.get(channel).copied().unwrap_or([f32::NAN; 3]));
        });
        (dx, vector(by_gamma), vector(by_beta))
    }

    fn curve(x: FlexTensor, coefficients: FlexTensor, relu: f32, limit: f32) -> FlexTensor {
        let (x, coefficients) = (Rows::new(x), host(coefficients));
        let of = |channel| curve(&coefficients, x.channels, channel, relu, limit);
        x.map(|channel, x, y, _| of(channel).forward(x, y)).0
    }

    fn curve_backward(
        x: FlexTensor,
        coefficients: FlexTensor,
        relu: f32,
        limit: f32,
        grad: FlexTensor,
    ) -> (FlexTensor, FlexTensor) {
        let (x, g, coefficients) = (Rows::new(x), Rows::new(grad), host(coefficients));
        let of = |channel| curve(&coefficients, x.channels, channel, relu, limit);
        let (dx, rows) = x.map(|channel, x, dx, i| of(channel).backward(x, g.row(i), dx));
        let sums = x.by_channel(&rows);
        let by = [0, 1, 2].into_iter().flat_map(|k| sums.iter().filter_map(move |s| s.get(k)));
        let values: Vec<f32> = by.map(|v| *v as f32).collect();
        (dx, FlexTensor::from_data(TensorData::new(values, [3, x.channels])))
    }

    fn series(x: FlexTensor, series: Series) -> FlexTensor {
        Rows::new(x).map(|_, x, y, _| series.forward(x, y)).0
    }

    fn series_backward(x: FlexTensor, series: Series, grad: FlexTensor) -> FlexTensor {
        let (x, g) = (Rows::new(x), Rows::new(grad));
        x.map(|_, x, dx, i| series.backward(x, g.row(i), dx)).0
    }

    fn excess(x: FlexTensor, lo: f32, hi: f32) -> FlexTensor {
        let x = Rows::new(x);
        let rows = x.look(|_, row| kernel::excess(row, [lo, hi]));
        let mean = rows.iter().map(|[sum, _]| sum).sum::<f64>() / x.values().len().max(1) as f64;
        let max = if mean.is_nan() { mean } else { rows.iter().map(|[_, max]| *max).fold(0.0, f64::max) };
        vector(vec![mean as f32, max as f32])
    }

    fn excess_backward(x: FlexTensor, lo: f32, hi: f32, seen: FlexTensor, grad: FlexTensor) -> FlexTensor {
        let (x, seen, grad) = (Rows::new(x), host(seen), host(grad));
        let worst = at(&seen, 1);
        // Equal ones share the gradient of the maximum.
        let ties: usize = x.look(|_, row| kernel::reaching(row, [lo, hi], worst)).into_iter().sum();
        let by = [at(&grad, 0) / x.values().len().max(1) as f32, at(&grad, 1) / ties.max(1) as f32];
        x.map(|_, x, dx, _| kernel::excess_backward(x, dx, [lo, hi], worst, by)).0
    }
}

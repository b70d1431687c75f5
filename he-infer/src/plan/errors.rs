//! What every operation makes of the errors it reads, and what it adds.
//!
//! Variances per coefficient (Kim–Papadimitriou–Polyakov 2022): fresh `σ²`, rounding `(1 + h)/12`, plaintext rounding `1/12`, key
//! switch `N σ² Σ D²/(12 P²) + (1 + h)/12` over the digits `D` of the key's level, with `h = 2N/3` for a uniform ternary secret. In
//! slots, the real part has `√(N/2)` times the coefficients' deviation.

use hetrain_export::{Basis, NodeId, Op, Polynomial};

use super::deviation::{Deviations, Variance};
use super::facts::Facts;
use super::levels::Levels;
use super::noise::Predicted;
use super::scales::{Scaling, partner_scale};
use crate::HeError;
use crate::kernels::polynomial::Scales;
use crate::math::sampling::ERROR_STD;

/// Scale of a result, and its errors.
type Outcome = Result<(f64, Deviations), HeError>;

/// Errors of operations on ciphertexts of one chain.
pub(super) struct Rules<'a> {
    scaling: Scaling<'a>,
    /// Size of the ring.
    n: f64,
    /// Deviation of a slot whose coefficients have deviation 1.
    slot: f64,
    /// Deviation of a rounding, in a slot.
    rounding: f64,
}

/// A node, and what it reads.
struct Reading<'a> {
    id: usize,
    inputs: &'a [NodeId],
    known: &'a [Predicted],
    facts: &'a [Facts],
    /// What variances of the errors that are read are multiplied with.
    share: f64,
}

#[expect(clippy::indexing_slicing, reason = "facts, levels and nodes have one entry per node")]
impl Reading<'_> {
    /// Operand `i`: its scale, its errors, what is known of its values.
    fn arg(&self, i: usize) -> (f64, Variance, &Facts) {
        let id = self.inputs[i].0;
        let x = &self.known[id];
        (x.scale, x.read.mean().times(self.share), &self.facts[id])
    }
}

#[expect(clippy::indexing_slicing, reason = "facts, levels and nodes have one entry per node")]
impl<'a> Rules<'a> {
    pub(super) fn new(scaling: Scaling<'a>) -> Self {
        let n = (1u64 << scaling.chain.log_n) as f64;
        let slot = (n / 2.0).sqrt();
        Self { scaling, n, slot, rounding: slot * ((1.0 + secret(n)) / 12.0).sqrt() }
    }

    /// Scale and errors of a node, if variances of what it reads were `share` of what they are.
    pub(super) fn outcome(&self, id: usize, known: &[Predicted], share: f64) -> Outcome {
        let node = &self.scaling.graph.nodes()[id];
        let r = Reading { id, inputs: &node.inputs, known, facts: self.scaling.facts, share };
        match &node.op {
            Op::Input => {
                let scale = self.scaling.free(id)?;
                let normal = square(self.slot * ERROR_STD / scale);
                Ok((scale, Deviations::even(Variance { normal, rounded: 0.0 })))
            }
            Op::Conv2d { .. }
            | Op::Linear { .. }
            | Op::Affine { .. }
            | Op::AvgPool { .. }
            | Op::RowSum { .. } => self.layer(&r),
            Op::Square { .. } => self.square(&r),
            Op::Quadratic { .. } => self.quadratic(&r),
            Op::Polynomial { poly } => self.polynomial(&r, poly),
            Op::Add => {
                let ((scale, a, _), (_, b, _)) = (r.arg(0), r.arg(1));
                let (normal, rounded) = (a.normal + b.normal, a.rounded + b.rounded);
                Ok((scale, Deviations::even(Variance { normal, rounded })))
            }
            op @ (Op::Mul | Op::MatMul { .. } | Op::Distance { .. }) => self.product(&r, op),
            Op::Bias { .. }
            | Op::Flatten
            | Op::Transpose { .. }
            | Op::Reshape { .. }
            | Op::Causal
            | Op::Row { .. } => {
                let x = &known[node.inputs[0].0];
                Ok((x.scale, x.read.clone().map(|v| v.times(share))))
            }
            Op::Relu | Op::MaxPool { .. } => {
                Err(HeError::Unfriendly { node: node.name.clone(), op: node.op.name() })
            }
        }
    }

    fn of(&self, id: usize) -> (&Facts, Levels) {
        (&self.scaling.facts[id], self.scaling.levels[id])
    }

    /// Deviation that switching a key at `level` adds to a slot.
    fn switch(&self, level: usize) -> f64 {
        let digits = self.scaling.chain.digits.get(level).copied().unwrap_or(0.0);
        self.slot * (digits * self.n * ERROR_STD * ERROR_STD / 12.0 + (1.0 + secret(self.n)) / 12.0).sqrt()
    }

    fn layer(&self, r: &Reading<'_>) -> Outcome {
        let (f, level) = self.of(r.id);
        let (from, noise, fx) = r.arg(0);
        let batch = self.scaling.chain.batch;
        let scale = self.scaling.of_layer(r.id, r.known)?;
        let factor = scale * self.scaling.q(level.operands)? / from;
        let turned = if batch { 0.0 } else { square(self.switch(level.operands) / from) };
        // Batch weights are single integers; packed ones are polynomials with rounded coefficients, whose real part
        // in a slot is what meets a real value.
        let weight = if batch { 1.0 / 12.0 } else { self.n / 24.0 } / square(factor);
        let folds = if batch { 1.0 } else { f.folds };
        let (plain, rounded) = (f.terms * square(fx.rms) * weight, folds * square(self.rounding / scale));
        let passed = noise.total() + turned;
        let of = |gain: f64| Variance { normal: gain * passed + plain, rounded };
        Ok((scale, Deviations::new(f.gains.iter().map(|(share, gain)| (*share, of(*gain))))))
    }

    fn square(&self, r: &Reading<'_>) -> Outcome {
        let (f, level) = self.of(r.id);
        let (from, noise, _) = r.arg(0);
        let scale = from * from / self.scaling.q(level.operands)?;
        let own = Variance { normal: 0.0, rounded: square(self.rounding / scale) };
        Ok((scale, amplified(&f.gains, noise, own)))
    }

    fn quadratic(&self, r: &Reading<'_>) -> Outcome {
        let (f, level) = self.of(r.id);
        let (from, noise, fx) = r.arg(0);
        let scaling = self.scaling;
        let scale = partner_scale(scaling.graph, r.id, r.known).map_or_else(|| scaling.free(r.id), Ok)?;
        // The square at its scale, then two products with rounded plaintexts and a rescaling.
        let high = from * from / scaling.q(level.operands)?;
        let factor = |from: f64| scale * from.recip() * scaling.q(level.result + 1).unwrap_or(1.0);
        let weight = self.n / 24.0 * (square(square(fx.rms) / factor(high)) + square(fx.rms / factor(from)));
        let rounded = f.terms * square(self.rounding / high) + square(self.rounding / scale);
        Ok((scale, amplified(&f.gains, noise, Variance { normal: weight, rounded })))
    }

    fn polynomial(&self, r: &Reading<'_>, poly: &Polynomial) -> Outcome {
        let (f, _) = self.of(r.id);
        let (from, noise, _) = r.arg(0);
        let (scale_bits, rounding) = (self.scaling.chain.scale_bits, self.rounding);
        let scale = self.scaling.free(r.id)?;
        let prime = scale_bits.exp2();
        // Noise and scale of the input on [−1, 1]; the map of a Chebyshev interval rounds once more.
        let (reach, map, input) = match poly.basis() {
            Basis::Monomial => (poly.interval().max_abs(), 0.0, None),
            Basis::Chebyshev => (poly.interval().half_width(), rounding / prime, Some(prime)),
        };
        let input_scale = input.unwrap_or(from * reach);
        let scales = Scales { prime, input: input_scale, result: scale, rounding };
        // Drift doubles with every level: too much of it leaves powers without digits, or without room.
        let drift = (input_scale / prime).log2().abs() * poly.degree() as f64;
        let usable = f.polynomial.as_ref().filter(|_| drift < 0.5 * scale_bits);
        let errors = usable.map(|n| {
            let normal = n.variances(noise.normal / square(reach), Scales { rounding: 0.0, ..scales });
            let rounded = n.variances(noise.rounded / square(reach) + map * map, scales);
            let both = normal.into_iter().zip(rounded);
            Deviations::new(both.map(|((w, normal), (_, rounded))| (w, Variance { normal, rounded })))
        });
        let unusable = Variance { normal: f64::INFINITY, rounded: 0.0 };
        Ok((scale, errors.unwrap_or_else(|| Deviations::even(unusable))))
    }

    /// Two ciphertexts multiplied, element by element, as matrices, or as distances of rows.
    fn product(&self, r: &Reading<'_>, op: &Op) -> Outcome {
        let (f, level) = self.of(r.id);
        let ((from, a, fa), (other, mut b, fb)) = (r.arg(0), r.arg(1));
        let scale = from * other / self.scaling.q(level.operands)?;
        // The error of a square is twice, not √2 times, that of its side.
        let mut terms = if r.inputs[0] == r.inputs[1] { 2.0 } else { 1.0 };
        let mut own = square(self.rounding / scale);
        if *op != Op::Mul {
            // The second operand is rotated to every offset, the products are summed by rotations.
            b.normal += square(self.switch(level.operands) / other);
            terms = f.terms;
            own *= f.folds;
        }
        let mut rms = fb.rms;
        if matches!(op, Op::MatMul { factors: Some(_), .. }) {
            // Rotated, multiplied with rounded plaintexts and rescaled once more.
            let weight = self.n / 24.0 * square(fb.rms / self.scaling.q(level.operands + 1)?);
            b.normal = f.factors * b.normal + weight;
            b.rounded = f.factors * b.rounded + square(self.rounding / other);
            rms *= f.factors.sqrt();
        }
        // A square of a difference has twice the difference as its slope, on either side.
        let distance = 4.0 * (square(fa.rms) + square(rms));
        let both = |a: f64, b: f64| match op {
            Op::Distance { .. } => terms * distance * (a + b),
            _ => terms * (square(rms) * a + square(fa.rms) * b),
        };
        let (normal, rounded) = (both(a.normal, b.normal), both(a.rounded, b.rounded) + own);
        Ok((scale, Deviations::even(Variance { normal, rounded })))
    }
}

/// Weight of a uniform ternary secret.
fn secret(n: f64) -> f64 {
    2.0 * n / 3.0
}

fn square(x: f64) -> f64 {
    x * x
}

/// Errors of an element-wise function: those of its input, amplified, and its own.
fn amplified(gains: &[(f64, f64)], input: Variance, own: Variance) -> Deviations {
    let of = |gain: f64| Variance {
        normal: gain * input.normal + own.normal,
        rounded: gain * input.rounded + own.rounded,
    };
    Deviations::new(gains.iter().map(|(share, gain)| (*share, of(*gain))))
}

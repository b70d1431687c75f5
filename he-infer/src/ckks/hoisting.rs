//! How a linear map is carried out: the number of baby steps, and when rotations are divided by `P`.
//!
//! Double hoisting keeps the babies over `Q_l P` and divides once per giant; every product with a plaintext then runs over
//! `level + 1 + K` primes. Single hoisting divides each baby at once, and products run over `level + 1` primes. Which is cheaper
//! depends on the level and on how many diagonals share a baby: `slots::cheapest_plan` decides.

use super::ciphertext::Ciphertext;
use super::context::Context;
use super::error::CkksError;
use super::keys::EvalKeys;
use super::par;
use super::transform::{Diagonals, LinearTransform};

/// When the rotations of the baby steps are divided by `P`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hoisting {
    /// Each rotation at once.
    Single,
    /// The sums of rotations.
    Double,
}

/// How a linear map is carried out. It decides which keys are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransformPlan {
    /// Baby steps, the step by 0 included: a power of two.
    pub babies: usize,
    /// When rotations are divided by `P`.
    pub hoisting: Hoisting,
}

/// Which diagonals a matrix has, without their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sparsity {
    /// Common distance of the offsets.
    pub stride: usize,
    /// Whether there is a diagonal at offset `i * stride`.
    pub present: Vec<bool>,
    /// Length with which the diagonals repeat, a power of two.
    pub period: usize,
}

impl Diagonals {
    /// Where the nonzero diagonals are.
    #[must_use]
    pub fn sparsity(&self) -> Sparsity {
        let periods = self.diagonals.iter().flatten().map(|(re, _)| re.len());
        Sparsity {
            stride: self.stride,
            present: self.diagonals.iter().map(Option::is_some).collect(),
            period: periods.max().unwrap_or(1),
        }
    }
}

impl Sparsity {
    /// Number of diagonals.
    #[must_use]
    pub fn diagonals(&self) -> usize {
        self.present.iter().filter(|p| **p).count()
    }

    /// Baby steps carried out (0 included) and giant sums, with at most `babies` baby steps.
    #[must_use]
    pub fn steps(&self, babies: usize) -> (usize, usize) {
        let chunks = self.present.chunks(babies.max(1));
        let used = chunks.clone().filter_map(|c| c.iter().rposition(|p| *p)).max();
        (used.map_or(1, |b| b + 1), chunks.len())
    }

    /// Rotations a transform with this plan needs keys for, at slots counted modulo `slots`.
    #[must_use]
    pub fn rotations(&self, plan: TransformPlan, slots: usize) -> Vec<i32> {
        let (babies, giants) = self.steps(plan.babies);
        let giant = (giants > 1).then_some(plan.babies);
        let steps = (1..babies).chain(giant).map(|i| (i * self.stride % slots.max(1)) as i32);
        steps.filter(|s| *s != 0).collect()
    }

    /// Words of one compact plaintext per prime: a polynomial in `X^run` has one residue per run.
    pub(crate) fn words_per_limb(&self, slots: usize) -> usize {
        (2 * slots) >> log_run(slots, self.period)
    }
}

/// Logarithm of the run of equal residues of a plaintext with this period; kernels spread a residue over whole vectors of eight.
pub(super) fn log_run(slots: usize, period: usize) -> u32 {
    let run = slots / period.max(1);
    if run < 8 { 0 } else { run.trailing_zeros() }
}

impl Context {
    /// A transform whose babies are ordinary rotations: sums and giants over `q_0..q_level` only.
    pub(super) fn apply_single_hoisted(
        &self,
        transform: &LinearTransform,
        ct: &Ciphertext,
        keys: &EvalKeys,
    ) -> Result<Ciphertext, CkksError> {
        let babies = self.rotate_many(ct, &transform.babies, keys)?;
        let blank = || self.blank_ct(ct.level, ct.scale * transform.plain_scale, ct.owner);
        let mut sums: Vec<Ciphertext> = transform.sums.iter().map(|_| blank()).collect();
        let mut outs: Vec<_> =
            sums.iter_mut().map(|s| (s.c0.limbs_mut().into_iter(), s.c1.limbs_mut().into_iter())).collect();
        let work: Vec<(usize, Vec<_>)> = (0..=ct.level)
            .map(|i| (i, outs.iter_mut().filter_map(|(a, b)| Some((a.next()?, b.next()?))).collect()))
            .collect();
        par::for_each(work, |(i, outs)| {
            let limbs: Vec<_> = babies.iter().flat_map(|b| [b.c0.limb(i), b.c1.limb(i)]).collect();
            self.spread_sums(transform, (i, i), &limbs, outs);
        });
        let mut sums = sums.into_iter().rev();
        let Some(mut acc) = sums.next() else {
            return Err(CkksError::Empty { operation: "apply_transform" });
        };
        for sum in sums {
            acc = self.rotate(&acc, transform.giant, keys)?;
            self.add_assign(&mut acc, &sum)?;
        }
        let mut out = self.rescale(&acc)?;
        out.scale = transform.scale_out;
        Ok(out)
    }
}

//! The one kernel behind convolution, dense layers, pooling and affine maps; see [`LinearMap`].

use rayon::prelude::*;

use crate::HeError;
use crate::plan::{LinearMap, Shared};
use crate::slots::SlotEvaluator;

/// A linear map's numbers, prepared for one level and one pair of scales.
pub(crate) struct LinearWeights<E: SlotEvaluator> {
    factors: Vec<E::Factor>,
    bias: Shared<E::Summand>,
}

impl<E: SlotEvaluator> LinearWeights<E> {
    /// Prepare `map` for an input at `level` and `scale_in`; the result has exactly `scale_out`, one level lower.
    pub(crate) fn new(
        e: &E,
        map: &LinearMap,
        level: usize,
        factor_scale: f64,
        scale_out: f64,
    ) -> Result<Self, HeError> {
        let values = |d| map.diagonal(d, e.slots());
        let factors = e.factors(map.products(), map.period, &values, level, factor_scale)?;
        let bias = map.bias.map(|b| e.summand(&|| b.clone(), level.saturating_sub(1), scale_out))?;
        Ok(Self { factors, bias })
    }
}

impl LinearWeights<crate::slots::CostCounter> {
    /// For pricing at a level whose scale is not known yet.
    pub(crate) fn without_bias(mut self) -> Self {
        self.bias = Shared::empty();
        self
    }
}

/// Apply a linear map: babies, inner sums, Horner giants, rescale, folds, bias.
#[expect(clippy::indexing_slicing, reason = "terms index the babies and factors made from the same map")]
pub(crate) fn linear<E: SlotEvaluator>(
    e: &E,
    x: &[E::Vec],
    map: &LinearMap,
    weights: &LinearWeights<E>,
) -> Result<Vec<E::Vec>, HeError> {
    let rotated: Vec<Vec<E::Vec>> =
        x.iter().zip(&map.babies).map(|(v, steps)| e.rotate_many(v, steps)).collect::<Result<_, _>>()?;
    let finish = |(o, giants): (usize, &Vec<crate::plan::Giant>)| -> Result<E::Vec, HeError> {
        let sums: Vec<E::Vec> = giants
            .par_iter()
            .map(|g| {
                let terms: Vec<_> = g
                    .terms
                    .iter()
                    .map(|t| (&rotated[t.input][t.baby], &weights.factors[t.diagonal]))
                    .collect();
                e.dot_plain(&terms)
            })
            .collect::<Result<_, _>>()?;
        let mut acc: Option<E::Vec> = None;
        for (i, sum) in sums.into_iter().enumerate() {
            let total = match acc {
                None => sum,
                Some(a) => e.add(&a, &sum)?,
            };
            let next = giants.get(i + 1).map_or(0, |g| g.step);
            let step = giants[i].step - next;
            acc = Some(if step == 0 { total } else { e.rotate(&total, step)? });
        }
        let mut y = e.rescale(&acc.ok_or(HeError::EmptySum)?)?;
        for &step in &map.folds {
            y = e.add(&y, &e.rotate(&y, step)?)?;
        }
        match weights.bias.get(o) {
            Some(b) => e.add_plain(&y, b),
            None => Ok(y),
        }
    };
    map.outputs.iter().enumerate().map(finish).collect()
}

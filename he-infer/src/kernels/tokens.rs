//! The two products of attention by offsets; see [`Tokens`].

use rayon::prelude::*;

use crate::HeError;
use crate::ckks::Combination;
use crate::plan::Tokens;
use crate::slots::SlotEvaluator;

/// Scores of all queries with all keys: for every offset a rotation, a product (or the square of a difference), and rotations that sum
/// over features.
pub(crate) fn scores<E: SlotEvaluator>(
    e: &E,
    queries: &[E::Vec],
    keys: &[E::Vec],
    tokens: &Tokens,
) -> Result<Vec<E::Vec>, HeError> {
    let folds: Vec<i32> = tokens.feature_folds().collect();
    let mut out = Vec::new();
    for (query, key) in queries.iter().zip(keys) {
        let turned = e.rotate_many(key, &tokens.turns())?;
        let one = |key: &E::Vec| {
            let product =
                if tokens.distances() { e.square(&e.sub(query, key)?)? } else { e.mul(query, key)? };
            folded(e, product, &folds)
        };
        out.extend(turned.par_iter().map(one).collect::<Result<Vec<_>, HeError>>()?);
    }
    Ok(out)
}

/// The factors of weights, for values at `level`, whose scale they leave as it is: `scale` is the prime of that level.
pub(crate) fn mixed_weights<E: SlotEvaluator>(
    e: &E,
    factors: &[Vec<f64>],
    level: usize,
    scale: f64,
) -> Result<Vec<E::Factor>, HeError> {
    let Some(turn) = factors.first().map(Vec::len) else { return Ok(Vec::new()) };
    let values = |i: usize| factors.get(i).map_or_else(Vec::new, |f| f.repeat(e.slots() / turn.max(1)));
    e.factors(factors.len(), turn, &values, level, scale)
}

/// Sums of values weighted by scores: products with rotated values, relinearised and rescaled once, at exactly `scale`. Where weights have
/// factors, the rotated values are multiplied with them first, and lie one level above the scores.
pub(crate) fn mixed<E: SlotEvaluator>(
    e: &E,
    [scores, values]: [&[E::Vec]; 2],
    tokens: &Tokens,
    factors: &[E::Factor],
    scale: f64,
) -> Result<Vec<E::Vec>, HeError> {
    let folds: Vec<i32> = tokens.copy_folds().collect();
    let turns = tokens.turns();
    let one = |(group, (scores, value)): (usize, (&[E::Vec], &E::Vec))| {
        let mut turned = e.rotate_many(value, &turns)?;
        if let Some(factors) = factors.chunks(turns.len()).nth(group) {
            let times = |(v, f)| e.rescale(&e.dot_plain(&[(v, f)])?);
            turned = turned.par_iter().zip(factors).map(times).collect::<Result<_, _>>()?;
        }
        let level = turned.first().map_or(0, |v| e.level(v));
        let products = scores.iter().zip(&turned).collect();
        let sum = Combination { times: 1, products, terms: Vec::new(), constant: 0.0 };
        folded(e, e.combine(&sum, level, scale)?, &folds)
    };
    scores.chunks(turns.len()).zip(values).enumerate().map(one).collect()
}

fn folded<E: SlotEvaluator>(e: &E, mut sum: E::Vec, folds: &[i32]) -> Result<E::Vec, HeError> {
    for &step in folds {
        sum = e.add(&sum, &e.rotate(&sum, step)?)?;
    }
    Ok(sum)
}

/// Products vector by vector; each of `b` serves as many of `a` as there are for it.
pub(crate) fn products<E: SlotEvaluator>(e: &E, a: &[E::Vec], b: &[E::Vec]) -> Result<Vec<E::Vec>, HeError> {
    let each = (a.len() / b.len().max(1)).max(1);
    a.par_chunks(each).zip(b).flat_map_iter(|(a, b)| a.iter().map(move |a| e.mul(a, b))).collect()
}

//! The smallest secure ring and modulus chain that hold a depth at a precision.

use hetrain_export::Graph;

use super::facts::Facts;
use super::levels::Levels;
use super::noise::{Nominal, Predicted, predict};
use crate::HeError;
use crate::ckks::{CkksParams, ParamsLiteral, Sizes, d16, max_log_qp};

/// Largest prime, in bits: products of lazily reduced values must fit the 52-bit multiplier.
const MAX_PRIME_BITS: u32 = 50;
/// Smallest scale prime worth having.
const MIN_SCALE_BITS: u32 = 20;
/// The plan's margin over the predicted errors, which are what a run is expected to show: what is asked for must hold for six
/// deviations of the noisiest logit (a normal error exceeds that once in `5 10^8`, one of roundings alone once in 5000), and for a
/// bit more, for what the model leaves out.
const MARGIN: f64 = 6.0;
const RESERVE: f64 = 1.0;
/// Ring degrees tried, as powers of two.
const LOG_N: std::ops::RangeInclusive<u32> = 12..=16;

/// A checked parameter set with what the planner needs to know of it.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The checked parameters.
    pub params: CkksParams,
    /// Nominal bits of a scale prime.
    pub scale_bits: u32,
    /// Largest amplitude of a linear layer's result, in bits.
    pub amplitude: f64,
}

impl Chain {
    /// Slots per ciphertext.
    pub fn slots(&self) -> usize {
        1 << (self.params.literal().log_n - 1)
    }

    /// The chain for bootstrapping, with its tested primes.
    pub(crate) fn deep() -> Result<Self, HeError> {
        let params = CkksParams::new(d16())?;
        let amplitude = params.literal().default_scale.log2();
        Ok(Self { params, scale_bits: amplitude as u32, amplitude })
    }

    /// Primes of the ciphertext modulus, lowest level first.
    pub fn primes(&self) -> &[u64] {
        &self.params.literal().q
    }

    /// The nominal numbers of the real primes.
    pub(crate) fn nominal(&self, batch: bool) -> Nominal {
        Nominal {
            log_n: self.params.literal().log_n,
            primes: self.params.literal().q.iter().map(|&p| p as f64).collect(),
            digits: digits(&self.params.literal().sizes()),
            scale_bits: f64::from(self.scale_bits),
            amplitude: self.amplitude,
            batch,
            refresh: None,
        }
    }
}

/// One candidate: bits of the first prime, of the scale primes, and of the `alpha` special primes.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    log_n: u32,
    first: u32,
    scale: u32,
    special: u32,
    alpha: usize,
}

impl Candidate {
    fn total(&self, depth: usize) -> u32 {
        self.first + depth as u32 * self.scale + self.alpha as u32 * self.special
    }

    /// With the smallest amplitude.
    fn nominal(&self, depth: usize, batch: bool) -> Nominal {
        let mut primes = vec![f64::from(self.scale).exp2(); depth + 1];
        if let Some(q0) = primes.first_mut() {
            *q0 = f64::from(self.first).exp2();
        }
        let sizes = Sizes {
            log_n: self.log_n,
            q: primes.iter().map(|p| p.log2()).collect(),
            p: vec![f64::from(self.special); self.alpha],
            alpha: self.alpha,
        };
        Nominal {
            log_n: self.log_n,
            primes,
            digits: digits(&sizes),
            scale_bits: f64::from(self.scale),
            amplitude: f64::from(self.scale),
            batch,
            refresh: None,
        }
    }
}

/// What keys of each level add, by the gadgets the engine takes for them.
fn digits(sizes: &Sizes) -> Vec<f64> {
    (0..sizes.q.len()).map(|level| sizes.digit_noise(level)).collect()
}

/// Transforms of one key switch per linear node, for `alpha` primes to a digit: what the choice of digits is about.
fn switching_cost(graph: &Graph, levels: &[Levels], alpha: usize) -> usize {
    let switch = |limbs: usize| {
        let digits = limbs.div_ceil(alpha);
        limbs + digits * (limbs + alpha) - limbs + 2 * (alpha + limbs)
    };
    let linear = graph.nodes().iter().zip(levels).filter(|(n, _)| n.op.depth() != Some(0));
    linear.map(|(_, l)| switch(l.operands + 1)).sum()
}

/// Search the smallest ring that holds a chain with `bits` at the output; within a ring, the digits that switch keys fastest.
pub(crate) fn search(
    graph: &Graph,
    facts: &[Facts],
    levels: &[Levels],
    bits: u32,
    batch: bool,
    least_slots: usize,
) -> Result<Chain, HeError> {
    let depth = levels.iter().map(|l| l.operands.max(l.result)).max().unwrap_or(0);
    let mut best_found: Option<(f64, u32)> = None;
    for log_n in LOG_N {
        let Some(bound) = max_log_qp(log_n) else { continue };
        if 1 << (log_n - 1) < least_slots {
            continue;
        }
        let mut alphas: Vec<usize> = (1..=depth + 1).collect();
        alphas.sort_by_key(|&a| switching_cost(graph, levels, a));
        for alpha in alphas {
            let mut best: Option<(f64, Candidate, u32)> = None;
            for scale in MIN_SCALE_BITS..=MAX_PRIME_BITS {
                for first in scale..=MAX_PRIME_BITS.min(scale + 12) {
                    // The largest digit holds the first prime; four more bits keep key-switching noise below rounding.
                    let digit = first + (alpha as u32 - 1) * scale;
                    let special = (digit + 4).div_ceil(alpha as u32).max(scale);
                    let c = Candidate { log_n, first, scale, special, alpha };
                    if special > MAX_PRIME_BITS || f64::from(c.total(depth)) > f64::from(bound) - 0.1 {
                        continue;
                    }
                    let mut nominal = c.nominal(depth, batch);
                    for boost in 0..=8 {
                        nominal.amplitude = f64::from(scale + boost);
                        let found = sure_bits(&predict(graph, facts, levels, &nominal)?);
                        if best.is_none_or(|(b, ..)| found > b) {
                            best = Some((found, c, boost));
                        }
                    }
                }
            }
            if let Some((found, c, boost)) = best {
                if best_found.is_none_or(|(b, _)| found > b) {
                    best_found = Some((found, log_n));
                }
                if found >= f64::from(bits) + RESERVE
                    && let Some(params) = realise(&c, depth)
                {
                    return Ok(Chain { params, scale_bits: c.scale, amplitude: f64::from(c.scale + boost) });
                }
            }
        }
    }
    let found = match best_found {
        Some((b, log_n)) if b.is_finite() => format!("best: {b:.1} bits at 2^{log_n}"),
        _ => "no modulus chain fits".into(),
    };
    Err(HeError::TooDeep { depth, bits, max_log_n: *LOG_N.end(), found })
}

/// Bits that the logits are sure to keep, where every node has room.
pub(crate) fn sure_bits(predicted: &[Predicted]) -> f64 {
    match predicted.last() {
        Some(last) if predicted.iter().all(|n| n.fits) => last.bits(MARGIN * last.errors.peak().sqrt()),
        _ => f64::NEG_INFINITY,
    }
}

/// Real primes for a candidate; `None` where the ring has too few of that size or the exact modulus exceeds the table.
fn realise(c: &Candidate, depth: usize) -> Option<CkksParams> {
    let literal = ParamsLiteral::generate(c.log_n, c.first, c.scale, depth, c.special, c.alpha, c.alpha);
    let complete = literal.q.len() == depth + 1 && literal.p.len() == c.alpha;
    complete.then(|| CkksParams::new(literal).ok()).flatten()
}

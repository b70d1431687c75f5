//! Watches what enters an activation: statistics, a penalty for leaving the interval, a clamp while training.
//!
//! Everything is off at first and then costs nothing but a look at a lock. State is shared by clones of a module, so
//! that the trainer can steer the copy an optimiser moved; a deep copy has its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, ElementConversion, Tensor};
use hetrain_export::Interval;
use serde::{Deserialize, Serialize};

use crate::pointwise;

/// How leaving the interval is punished. `e` is the distance from the interval, `h` its half width, `z` the input
/// mapped so that the interval is `[−1, 1]`. Means are over all elements of the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RangePenalty {
    /// `mean(e)`: dense over all that is outside.
    Hinge,
    /// `max(e)`: only the worst element, as in range-aware training.
    Worst,
    /// `mean(e) + max(e)`.
    #[default]
    HingeAndWorst,
    /// `mean(|z/0.96|^exponent)`: pulls at everything, hard near the ends.
    Power {
        /// Even, 4 to 10; odd ones count as the next even one.
        exponent: u32,
    },
    /// `mean(exp(e/(0.1 h)) − 1)`, the exponent capped at 20: a barrier.
    Barrier,
}

impl RangePenalty {
    fn of<const D: usize>(self, x: Tensor<D>, interval: Interval) -> Tensor<1> {
        let Interval { lo, hi } = interval;
        let excess = |x: Tensor<D>| (x.clone() - x.clamp(lo, hi)).abs();
        match self {
            Self::Hinge => excess(x).mean(),
            Self::Worst => excess(x).max(),
            Self::HingeAndWorst => pointwise::excess(x, lo, hi),
            Self::Power { exponent } => {
                let z = x.sub_scalar(interval.centre()).div_scalar(0.96 * interval.half_width());
                let squares = z.clone() * z;
                let factors = exponent.div_ceil(2).max(1);
                (1..factors).fold(squares.clone(), |power, _| power * squares.clone()).mean()
            }
            Self::Barrier => {
                excess(x).div_scalar(0.1 * interval.half_width()).clamp_max(20.0).exp().sub_scalar(1.0).mean()
            }
        }
    }
}

/// What was seen of one channel: extremes, and the sums a least-squares quadratic needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelStats {
    /// Values seen.
    pub count: u64,
    /// Smallest value; NaN once a NaN was seen.
    pub min: f64,
    /// Largest value; NaN once a NaN was seen.
    pub max: f64,
    /// Sums of `x, x², x³, x⁴`.
    pub powers: [f64; 4],
    /// Sums of `p, p², p³` with `p = max(x, 0)`.
    pub positive: [f64; 3],
}

impl Default for ChannelStats {
    fn default() -> Self {
        Self { count: 0, min: f64::INFINITY, max: f64::NEG_INFINITY, powers: [0.0; 4], positive: [0.0; 3] }
    }
}

impl ChannelStats {
    /// Take in a value.
    pub fn add(&mut self, x: f64) {
        self.count += 1;
        // `f64::min` would drop a NaN.
        self.min = if x.is_nan() {
            x
        } else if self.min.is_nan() {
            self.min
        } else {
            self.min.min(x)
        };
        self.max = if x.is_nan() {
            x
        } else if self.max.is_nan() {
            self.max
        } else {
            self.max.max(x)
        };
        let (x2, p) = (x * x, x.max(0.0));
        let [s1, s2, s3, s4] = &mut self.powers;
        (*s1, *s2, *s3, *s4) = (*s1 + x, *s2 + x2, *s3 + x2 * x, *s4 + x2 * x2);
        let [p1, p2, p3] = &mut self.positive;
        (*p1, *p2, *p3) = (*p1 + p, *p2 + p * p, *p3 + p * p * p);
    }

    /// Take in what another saw.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        let nan = self.min.is_nan() || other.min.is_nan();
        self.min = if nan { f64::NAN } else { self.min.min(other.min) };
        self.max = if nan { f64::NAN } else { self.max.max(other.max) };
        self.powers.iter_mut().zip(other.powers).for_each(|(a, b)| *a += b);
        self.positive.iter_mut().zip(other.positive).for_each(|(a, b)| *a += b);
    }

    /// Mean, 0 of nothing.
    pub fn mean(&self) -> f64 {
        self.powers[0] / self.count.max(1) as f64
    }

    /// Variance, 0 of nothing.
    pub fn var(&self) -> f64 {
        (self.powers[1] / self.count.max(1) as f64 - self.mean().powi(2)).max(0.0)
    }
}

/// What was seen at the input of one operator's polynomial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorStats {
    /// Name of the operator.
    pub name: String,
    /// One entry per channel; none if no interval bounds the operator.
    pub channels: Vec<ChannelStats>,
}

impl OperatorStats {
    /// All channels together.
    pub fn overall(&self) -> ChannelStats {
        self.channels.iter().fold(ChannelStats::default(), |mut all, c| {
            all.merge(c);
            all
        })
    }
}

#[derive(Clone, Debug)]
struct ProbeState {
    interval: Interval,
    clamp: Option<f32>,
    penalty: Option<RangePenalty>,
    seen: Option<Vec<ChannelStats>>,
}

/// The watcher on the input of one activation.
#[derive(Clone)]
pub struct RangeProbe {
    channels: usize,
    state: Arc<Mutex<ProbeState>>,
}

impl std::fmt::Debug for RangeProbe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Interval { lo, hi } = self.interval();
        write!(f, "RangeProbe [{lo}, {hi}]")
    }
}

impl RangeProbe {
    /// Interval of a probe nobody has set: generous for inputs of deviation 1.
    pub const INTERVAL: Interval = Interval { lo: -8.0, hi: 8.0 };

    /// A probe that does nothing yet.
    pub fn new(channels: usize) -> Self {
        let state = ProbeState { interval: Self::INTERVAL, clamp: None, penalty: None, seen: None };
        Self { channels, state: Arc::new(Mutex::new(state)) }
    }

    /// Channels it tells apart; none for an operator that no interval bounds.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// A probe in the same state, sharing nothing.
    pub fn deep_copy(&self) -> Self {
        Self { channels: self.channels, state: Arc::new(Mutex::new(self.lock().clone())) }
    }

    /// Where inputs are to stay.
    pub fn interval(&self) -> Interval {
        self.lock().interval
    }

    /// Set where inputs are to stay.
    pub fn set_interval(&self, interval: Interval) {
        self.lock().interval = interval;
    }

    /// Limit inputs to `±clamp` on a training device (never elsewhere); `None` ends it.
    pub fn set_clamp(&self, clamp: Option<f32>) {
        self.lock().clamp = clamp;
    }

    /// Switch the penalty on, or off.
    pub fn set_penalty(&self, penalty: Option<RangePenalty>) {
        self.lock().penalty = penalty;
    }

    /// Start collecting statistics afresh, or stop and forget them.
    pub fn collect(&self, on: bool) {
        self.lock().seen = on.then(|| vec![ChannelStats::default(); self.channels]);
    }

    /// Whether statistics are collected.
    pub fn collects(&self) -> bool {
        self.lock().seen.is_some()
    }

    /// What was seen per channel; collecting, where it is on, starts afresh.
    pub fn take(&self) -> Vec<ChannelStats> {
        let empty = vec![ChannelStats::default(); self.channels];
        match &mut self.lock().seen {
            Some(seen) => std::mem::replace(seen, empty),
            None => empty,
        }
    }

    /// Look at `x` and append its penalty; the limit to which the activation is to hold `x` after that, if there is one.
    ///
    /// # Shapes
    /// - input `[batch, channels, ...]`
    pub fn watch<const D: usize>(&self, x: &Tensor<D>, penalties: &mut Vec<Tensor<1>>) -> Option<f32> {
        let (interval, clamp, penalty, collect) = {
            let s = self.lock();
            (s.interval, s.clamp, s.penalty, s.seen.is_some())
        };
        if collect {
            self.observe(x);
        }
        if !x.is_autodiff() {
            return None;
        }
        if let Some(penalty) = penalty {
            penalties.push(penalty.of(x.clone(), interval));
        }
        clamp
    }

    fn observe<const D: usize>(&self, x: &Tensor<D>) {
        let shape = x.dims();
        let channels = shape.get(1).copied().unwrap_or(1).max(1);
        let positions: usize = shape.iter().skip(2).product::<usize>().max(1);
        if x.device().without_autodiff() != Device::flex() {
            return self.observe_remote(x.clone().reshape([-1, channels as isize, positions as isize]));
        }
        let data = x.clone().into_data().convert::<f32>();
        let Ok(values) = data.as_slice::<f32>() else { return };
        let mut state = self.lock();
        let Some(seen) = &mut state.seen else { return };
        for (row, values) in values.chunks(positions).enumerate() {
            if let Some(stats) = seen.get_mut(row % channels) {
                values.iter().for_each(|&v| stats.add(v.elem()));
            }
        }
    }

    /// Reduce on the device: to bring every value to the host would take longer than to compute them.
    fn observe_remote(&self, x: Tensor<3>) {
        let [batch, channels, positions] = x.dims();
        let count = (batch * positions) as u64;
        let flat = |t: Tensor<3>| t.reshape([1, channels]);
        let mean = |t: Tensor<3>| flat(t.mean_dim(2).mean_dim(0));
        let (x2, p) = (x.clone() * x.clone(), x.clone().clamp_min(0.0));
        let p2 = p.clone() * p.clone();
        let rows = [
            flat(x.clone().min_dim(2).min_dim(0)),
            flat(x.clone().max_dim(2).max_dim(0)),
            mean(x.clone()),
            mean(x2.clone()),
            mean(x2.clone() * x),
            mean(x2.clone() * x2),
            mean(p.clone()),
            mean(p2.clone()),
            mean(p2 * p),
        ];
        let data = Tensor::cat(rows.to_vec(), 0).into_data().convert::<f32>();
        let Ok(values) = data.as_slice::<f32>() else { return };
        let mut state = self.lock();
        let Some(seen) = &mut state.seen else { return };
        for (channel, seen) in seen.iter_mut().enumerate() {
            let mut row = values.iter().skip(channel).step_by(channels).map(|&v| f64::from(v));
            let mut next = || row.next().unwrap_or(f64::NAN);
            let [min, max] = [next(), next()];
            let [m1, m2, m3, m4, p1, p2, p3] = [(); 7].map(|()| next() * count as f64);
            // A device may drop what is no number from its minima, but not from its means.
            let [min, max] = if m1.is_nan() { [f64::NAN; 2] } else { [min, max] };
            seen.merge(&ChannelStats { count, min, max, powers: [m1, m2, m3, m4], positive: [p1, p2, p3] });
        }
    }

    /// A forward pass that panicked elsewhere leaves plain values behind, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, ProbeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_reduces_to_what_the_host_sees() {
        let values: Vec<f32> = (0..60).map(|i| (i as f32 * 0.7).sin() * 3.0 + 0.5).collect();
        let x = Tensor::<3>::from_data(burn::tensor::TensorData::new(values, [2, 3, 10]), &Device::flex());
        let [host, device] =
            [RangeProbe::observe::<3>, |p: &RangeProbe, x: &Tensor<3>| p.observe_remote(x.clone())].map(
                |observe| {
                    let probe = RangeProbe::new(3);
                    probe.collect(true);
                    observe(&probe, &x);
                    observe(&probe, &x);
                    probe.take()
                },
            );
        for (a, b) in host.iter().zip(&device) {
            assert_eq!((a.count, a.min, a.max), (b.count, b.min, b.max));
            let sums = a.powers.iter().chain(&a.positive).zip(b.powers.iter().chain(&b.positive));
            sums.for_each(|(a, b)| assert!((a - b).abs() < 1e-4 * a.abs().max(1.0), "{a} and {b}"));
        }
    }
}

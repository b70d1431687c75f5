//! What has an original form, in which networks are trained first, and a polynomial one, which runs encrypted.
//!
//! ```text
//! y = (1 − r)·original(x) + r·polynomial(x)
//! ```
//! Training moves `r` from 0 to 1, for one kind of operator after the other or for all at once. A form whose share is 0 is not
//! computed, but for statistics the polynomial one must have when its turn comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hetrain_export::Interval;
use serde::{Deserialize, Serialize};

use crate::{Curve, Function, LayerError, RangeProbe};

/// The kinds of operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// ReLU or GELU.
    Activation,
    /// Layer norm.
    Norm,
    /// Softmax of attention.
    Attention,
}

impl Operator {
    /// Every kind with its name in configurations.
    pub const ALL: [(&'static str, Self); 3] =
        [("activation", Self::Activation), ("norm", Self::Norm), ("attention", Self::Attention)];
}

/// What of an operator is neither parameter nor statistic, yet part of the network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorState {
    /// 0 is the original, 1 the polynomial.
    pub blend: f32,
    /// Where the polynomial's inputs are to stay.
    pub interval: Interval,
}

/// Share of the polynomial, set from outside while training; clones see the same value.
#[derive(Clone, Debug)]
struct Blend(Arc<AtomicU32>);

impl Blend {
    fn new(r: f32) -> Self {
        Self(Arc::new(AtomicU32::new(r.to_bits())))
    }

    fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, r: f32) {
        // NaN is no share of anything; the original it falls back to is what every network starts from.
        let r = if r.is_nan() { 0.0 } else { r.clamp(0.0, 1.0) };
        self.0.store(r.to_bits(), Ordering::Relaxed);
    }
}

/// Which form an operator has, and the watch on what enters its polynomial.
#[derive(Clone, Debug)]
pub struct Switch {
    kind: Operator,
    blend: Blend,
    probe: RangeProbe,
}

impl Switch {
    /// The original form; its polynomial reads `channels` channels, none if no interval bounds it.
    pub fn new(kind: Operator, channels: usize) -> Self {
        Self { kind, blend: Blend::new(0.0), probe: RangeProbe::new(channels) }
    }

    /// What kind of operator this is.
    pub fn kind(&self) -> Operator {
        self.kind
    }

    /// Share of the polynomial.
    pub fn blend(&self) -> f32 {
        self.blend.get()
    }

    /// Set the share of the polynomial, limited to `[0, 1]`.
    pub fn set_blend(&self, r: f32) {
        self.blend.set(r);
    }

    /// The probe on the polynomial's input.
    pub fn probe(&self) -> &RangeProbe {
        &self.probe
    }

    /// Blend and interval.
    pub fn state(&self) -> OperatorState {
        OperatorState { blend: self.blend(), interval: self.probe.interval() }
    }

    /// Set blend and interval.
    pub fn set_state(&self, state: OperatorState) {
        self.set_blend(state.blend);
        self.probe.set_interval(state.interval);
    }

    /// Whether the polynomial is computed: it has a share, or somebody wants to see what enters it.
    pub(crate) fn wanted(&self) -> bool {
        self.blend() > 0.0 || self.probe.collects()
    }

    /// Handles of its own, holding what the shared ones held.
    pub(crate) fn unshare(&mut self) {
        self.blend = Blend::new(self.blend.get());
        self.probe = self.probe.deep_copy();
    }

    /// That the operator is a polynomial, for an operator whose original no graph can hold.
    ///
    /// # Errors
    /// [`LayerError::HalfReplaced`], [`LayerError::Original`].
    pub(crate) fn replaced(&self, name: &str, original: &'static str) -> Result<(), LayerError> {
        match self.blend() {
            1.0.. => Ok(()),
            ..=0.0 => Err(LayerError::Original { name: name.into(), original }),
            blend => Err(LayerError::HalfReplaced { name: name.into(), blend }),
        }
    }
}

/// An operator of a network.
pub(crate) struct Site<'a> {
    /// Path of the module that is the operator.
    pub(crate) name: String,
    /// Its switch.
    pub(crate) switch: &'a Switch,
    /// What its polynomial follows from.
    pub(crate) polynomial: Source<'a>,
}

/// What a polynomial follows from.
pub(crate) enum Source<'a> {
    /// Training, which starts near a function.
    Trained(&'a Curve, Function),
    /// A function and the interval.
    Interval(Function),
    /// Statistics, or nothing at all.
    Nothing,
}

//! All tables of one parameter set.

use super::error::CkksError;
use super::params::{CkksParams, ParamsLiteral, ToyParams};
use crate::math::backend::Backend;
use crate::math::buffer::BufferPool;
use crate::math::convert::BasisConverter;
use crate::math::modulus::Modulus;
use crate::math::ntt::Plan;
use crate::math::special_fft::SpecialFft;

/// Exact division by a set of primes: convert the residues at those primes to the others, subtract, multiply by the inverse.
pub(super) struct Divider {
    pub convert: BasisConverter,
    /// Inverse of the divisor modulo each kept prime, Montgomery form.
    pub inverse: Vec<u64>,
}

impl Divider {
    fn new(divisors: &[Modulus], kept: &[Modulus]) -> Self {
        let inverse = kept
            .iter()
            .map(|m| m.to_mont(m.inv(divisors.iter().fold(1, |acc, d| m.mul(acc, d.value() % m.value())))))
            .collect();
        Self { convert: BasisConverter::new(divisors, kept), inverse }
    }
}

/// Immutable tables and operations for one parameter set. Share it in an `Arc`.
///
/// Moduli are numbered `q_0..q_L` first, then the special primes.
pub struct Context {
    pub(super) literal: ParamsLiteral,
    digest: [u8; 32],
    secure: bool,
    pub(super) n: usize,
    pub(super) backend: Backend,
    pub(super) plans: Vec<Plan>,
    pub(super) fft: SpecialFft,
    /// `raise[j][c - 1]`: from the first `c` primes of digit `j` to every modulus.
    pub(super) raise: Vec<Vec<BasisConverter>>,
    /// Division by `P`, by `q_l P` (index `l`), by `q_l` (index `l`) and by the first special prime alone.
    pub(super) by_p: Divider,
    pub(super) by_qp: Vec<Divider>,
    pub(super) by_q: Vec<Divider>,
    pub(super) by_p0: Divider,
    /// `P mod q_i`, Montgomery form.
    pub(super) p_mod_q: Vec<u64>,
    pub(super) scratch: BufferPool,
}

impl Context {
    /// Tables for checked, 128-bit secure parameters.
    ///
    /// # Errors
    /// [`CkksError::Tables`] if a table cannot be built, which checked parameters exclude.
    pub fn new(params: &CkksParams) -> Result<Self, CkksError> {
        Self::build(params.literal(), params.digest(), true, Backend::detect())
    }

    /// Tables for INSECURE toy parameters, for tests and teaching.
    ///
    /// # Errors
    /// As for [`Context::new`].
    pub fn insecure(params: &ToyParams) -> Result<Self, CkksError> {
        Self::build(params.literal(), params.digest(), false, Backend::detect())
    }

    /// The same context on the portable kernels; results are bit-identical. For tests.
    ///
    /// # Errors
    /// As for [`Context::new`].
    pub fn force_scalar(&self) -> Result<Self, CkksError> {
        Self::build(&self.literal, self.digest, self.secure, Backend::scalar())
    }

    fn build(
        lit: &ParamsLiteral,
        digest: [u8; 32],
        secure: bool,
        backend: Backend,
    ) -> Result<Self, CkksError> {
        let n = 1usize << lit.log_n;
        let mut plans = Vec::new();
        for &prime in lit.q.iter().chain(&lit.p) {
            let plan = Modulus::new(prime).and_then(|m| Plan::new(n, m, backend));
            plans.push(plan.ok_or(CkksError::Tables { prime })?);
        }
        let moduli: Vec<Modulus> = plans.iter().map(|p| *p.modulus()).collect();
        let (q, p) = moduli.split_at(lit.q.len());
        let raise = q
            .chunks(lit.alpha)
            .map(|digit| {
                (1..=digit.len()).map(|c| BasisConverter::new(digit.split_at(c).0, &moduli)).collect()
            })
            .collect();
        let (mut by_q, mut by_qp) = (Vec::new(), Vec::new());
        for (l, ql) in q.iter().enumerate() {
            let kept = q.split_at(l).0;
            let divisors: Vec<Modulus> = std::iter::once(*ql).chain(p.iter().copied()).collect();
            by_q.push(Divider::new(&[*ql], kept));
            by_qp.push(Divider::new(&divisors, kept));
        }
        let p_mod = |m: &Modulus| p.iter().fold(1, |acc, x| m.mul(acc, x.value() % m.value()));
        Ok(Self {
            literal: lit.clone(),
            digest,
            secure,
            n,
            backend,
            fft: SpecialFft::new(n / 2, backend),
            raise,
            by_p: Divider::new(p, q),
            by_qp,
            by_q,
            by_p0: Divider::new(p.split_at(1).0, q),
            p_mod_q: q.iter().map(|m| m.to_mont(p_mod(m))).collect(),
            scratch: BufferPool::default(),
            plans,
        })
    }

    /// The parameters as written.
    #[must_use]
    pub fn literal(&self) -> &ParamsLiteral {
        &self.literal
    }

    /// SHA-256 identifying the parameters; every serialised object carries it.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Whether the parameters passed the 128-bit table.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Ring degree.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Exponent of the ring degree.
    #[must_use]
    pub fn log_n(&self) -> u32 {
        self.literal.log_n
    }

    /// Number of real slots, half the ring degree.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.n / 2
    }

    /// Highest level.
    #[must_use]
    pub fn max_level(&self) -> usize {
        self.literal.max_level()
    }

    /// The prime that a rescale at `level` divides by, or `None` above the top level.
    #[must_use]
    pub fn modulus_at(&self, level: usize) -> Option<u64> {
        self.literal.q.get(level).copied()
    }

    /// Default scale of the parameters.
    #[must_use]
    pub fn default_scale(&self) -> f64 {
        self.literal.default_scale
    }

    /// `log2(q_0 ... q_level)`.
    #[must_use]
    pub fn log_q(&self, level: usize) -> f64 {
        self.literal.q.iter().take(level + 1).map(|q| (*q as f64).log2()).sum()
    }

    /// Bytes of one full ciphertext at `level` in memory (payload, without padding).
    #[must_use]
    pub fn ciphertext_bytes(&self, level: usize) -> u64 {
        2 * (level as u64 + 1) * self.n as u64 * 8
    }

    /// Short identity used to catch objects of other parameters.
    pub(crate) fn id(&self) -> u64 {
        u64::from_le_bytes(self.digest.first_chunk().copied().unwrap_or_default())
    }

    /// Modulus number `t`.
    pub(crate) fn modulus(&self, t: usize) -> Option<&Modulus> {
        self.plans.get(t).map(Plan::modulus)
    }

    /// Number of special primes.
    pub(crate) fn specials(&self) -> usize {
        self.literal.p.len()
    }

    /// Digits needed at `level`.
    pub(crate) fn digits(&self, level: usize) -> usize {
        (level + 1).div_ceil(self.literal.alpha)
    }

    /// Modulus numbers of the basis `q_0..q_level, p_0..`.
    pub(crate) fn extended_basis(&self, level: usize) -> Vec<usize> {
        (0..=level).chain(self.max_level() + 1..self.plans.len()).collect()
    }

    /// Plans of the basis `q_0..q_level`.
    pub(super) fn level_plans(&self, level: usize) -> impl Iterator<Item = &Plan> {
        self.plans.iter().take(level + 1)
    }

    pub(super) fn check_id(
        &self,
        operation: &'static str,
        object: &'static str,
        id: u64,
    ) -> Result<(), CkksError> {
        if id == self.id() { Ok(()) } else { Err(CkksError::Foreign { operation, object }) }
    }

    pub(super) fn check_level(&self, operation: &'static str, level: usize) -> Result<(), CkksError> {
        let available = self.max_level();
        if level > available { Err(CkksError::LevelTooHigh { operation, level, available }) } else { Ok(()) }
    }
}

/// Scales agree when they differ by at most `2^-30` relative.
pub(super) fn check_scales(operation: &'static str, left: f64, right: f64) -> Result<(), CkksError> {
    if (left / right - 1.0).abs() <= 2f64.powi(-30) {
        Ok(())
    } else {
        Err(CkksError::ScaleMismatch { operation, left, right })
    }
}

pub(super) fn check_scale(operation: &'static str, scale: f64) -> Result<(), CkksError> {
    if scale.is_finite() && scale >= 1.0 { Ok(()) } else { Err(CkksError::BadScale { operation, scale }) }
}

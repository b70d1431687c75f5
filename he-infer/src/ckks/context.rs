//! All tables of one parameter set.

use super::error::CkksError;
use super::factor::SmallRings;
use super::params::{CkksParams, Gadget, ParamsLiteral, ToyParams, raised_exactly};
use crate::math::backend::Backend;
use crate::math::buffer::BufferPool;
use crate::math::convert::BasisConverter;
use crate::math::modulus::Modulus;
use crate::math::ntt::Plan;
use crate::math::special_fft::SpecialFft;

/// Exact division by a set of primes: residues at the primes that stay, times `times`, plus those at the primes divided by, converted
/// to the others. The conversion takes the negative inverse of the divisor along.
///
/// Polynomials over `Q P` are held divided by `P` modulo the primes of `Q`, which costs nothing (keys are made that way) and saves a
/// multiplication where they are divided.
pub(super) struct Divider {
    pub convert: BasisConverter,
    /// Modulo each kept prime, in Montgomery form; nothing where the division by `P` is all.
    pub times: Option<Vec<u64>>,
}

impl Divider {
    /// Division by a prime of what is held as it is.
    fn by_prime(q: &Modulus, kept: &[Modulus]) -> Self {
        Self { convert: Self::conversion(&[*q], kept), times: Some(Self::inverses(q, kept)) }
    }

    /// Division by `P`.
    fn by_special(specials: &[Modulus], kept: &[Modulus]) -> Self {
        Self { convert: Self::conversion(specials, kept), times: None }
    }

    /// Division by `q P`.
    fn by_both(q: &Modulus, specials: &[Modulus], kept: &[Modulus]) -> Self {
        let divisors: Vec<Modulus> = std::iter::once(*q).chain(specials.iter().copied()).collect();
        let convert = Self::conversion(&divisors, kept).first_times(q, product(specials, q));
        Self { convert, times: Some(Self::inverses(q, kept)) }
    }

    fn conversion(divisors: &[Modulus], kept: &[Modulus]) -> BasisConverter {
        BasisConverter::new(divisors, kept).times(|m| m.neg(m.inv(product(divisors, m))))
    }

    fn inverses(q: &Modulus, kept: &[Modulus]) -> Vec<u64> {
        kept.iter().map(|m| m.to_mont(m.inv(product(&[*q], m)))).collect()
    }
}

/// The product of `primes` modulo `m`.
fn product(primes: &[Modulus], m: &Modulus) -> u64 {
    primes.iter().fold(1, |acc, p| m.mul(acc, p.value() % m.value()))
}

/// Constants of key switching with one gadget.
pub(super) struct GadgetTables {
    pub gadget: Gadget,
    /// `raise[j][c - 1]`: from the first `c` primes of digit `j` to every modulus.
    pub raise: Vec<Vec<BasisConverter>>,
    /// Division by `P` and by `q_l P` (index `l`).
    pub by_p: Divider,
    pub by_qp: Vec<Divider>,
    /// `1 / P mod q_i`, Montgomery form.
    pub p_inverse: Vec<u64>,
}

impl GadgetTables {
    fn new(log_n: u32, gadget: Gadget, levels: usize, q: &[Modulus], p: &[Modulus]) -> Self {
        let bits = |m: &[Modulus]| -> Vec<f64> { m.iter().map(|m| (m.value() as f64).log2()).collect() };
        let used = q.split_at(levels).0;
        let specials = p.split_at(gadget.specials).0;
        let moduli: Vec<Modulus> = q.iter().chain(specials).copied().collect();
        let raise = used.chunks(gadget.alpha).map(|digit| {
            let converter = |c: usize| {
                let digit = digit.split_at(c).0;
                let exact = raised_exactly(log_n, &bits(digit), bits(specials).iter().sum());
                let new = if exact { BasisConverter::new } else { BasisConverter::approximate };
                new(digit, &moduli)
            };
            (1..=digit.len()).map(converter).collect()
        });
        let by_qp = used.iter().enumerate().map(|(l, ql)| Divider::by_both(ql, specials, q.split_at(l).0));
        Self {
            raise: raise.collect(),
            by_qp: by_qp.collect(),
            ..Self::without_digits(gadget, used, specials)
        }
    }

    /// Tables for polynomials that need not be cut: only the division by `P`.
    fn without_digits(gadget: Gadget, used: &[Modulus], specials: &[Modulus]) -> Self {
        Self {
            gadget,
            raise: Vec::new(),
            by_p: Divider::by_special(specials, used),
            by_qp: Vec::new(),
            p_inverse: used.iter().map(|m| m.to_mont(m.inv(product(specials, m)))).collect(),
        }
    }
}

/// Immutable tables and operations for one parameter set. Share it in an `Arc`.
///
/// Moduli are numbered `q_0..q_L` first, then the special primes.
pub struct Context {
    pub(super) literal: ParamsLiteral,
    pub(super) digest: [u8; 32],
    secure: bool,
    pub(super) n: usize,
    pub(super) backend: Backend,
    pub(super) plans: Vec<Plan>,
    pub(super) fft: SpecialFft,
    /// Key switching by gadget, and which one a key of each level uses.
    gadgets: Vec<GadgetTables>,
    gadget_of_level: Vec<usize>,
    /// One digit, one special prime: for polynomials below a single prime.
    pub(super) small: GadgetTables,
    /// Division by `q_l` (index `l`).
    pub(super) by_q: Vec<Divider>,
    pub(super) scratch: BufferPool,
    /// For plaintexts that repeat.
    pub(super) small_rings: SmallRings,
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

    /// The same context on other kernels; results are bit-identical. For tests and comparisons.
    ///
    /// # Errors
    /// As for [`Context::new`].
    pub fn on_backend(&self, backend: Backend) -> Result<Self, CkksError> {
        Self::build(&self.literal, self.digest, self.secure, backend)
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
        Plan::side_by_side(&mut plans);
        let moduli: Vec<Modulus> = plans.iter().map(|p| *p.modulus()).collect();
        let (q, p) = moduli.split_at(lit.q.len());
        let mut gadgets: Vec<GadgetTables> = Vec::new();
        let mut gadget_of_level = vec![0; q.len()];
        // From the top, so that each gadget's tables are made for the highest level that uses it.
        for (level, index) in gadget_of_level.iter_mut().enumerate().rev() {
            let gadget = lit.gadget(level);
            *index = gadgets.iter().position(|g| g.gadget == gadget).unwrap_or_else(|| {
                gadgets.push(GadgetTables::new(lit.log_n, gadget, level + 1, q, p));
                gadgets.len() - 1
            });
        }
        let by_q = q.iter().enumerate().map(|(l, ql)| Divider::by_prime(ql, q.split_at(l).0)).collect();
        Ok(Self {
            literal: lit.clone(),
            digest,
            secure,
            n,
            backend,
            fft: SpecialFft::new(n / 2, backend),
            small: GadgetTables::without_digits(Gadget { alpha: q.len(), specials: 1 }, q, p.split_at(1).0),
            gadgets,
            gadget_of_level,
            by_q,
            scratch: BufferPool::default(),
            small_rings: SmallRings::new(n),
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

    /// Which kernels run.
    pub(crate) fn backend(&self) -> Backend {
        self.backend
    }

    /// Modulus number `t`.
    pub(crate) fn modulus(&self, t: usize) -> Option<&Modulus> {
        self.plans.get(t).map(Plan::modulus)
    }

    /// Key-switching constants of keys for `level` (the top level's for levels that do not exist).
    pub(super) fn gadget_tables(&self, level: usize) -> &GadgetTables {
        let index = self.gadget_of_level.get(level).copied().unwrap_or(0);
        self.gadgets.get(index).unwrap_or(&self.small)
    }

    /// Key-switching constants of a gadget some level uses, or else those of [`Context::small`].
    pub(super) fn tables_of(&self, gadget: Gadget) -> &GadgetTables {
        self.gadgets.iter().find(|g| g.gadget == gadget).unwrap_or(&self.small)
    }

    /// Modulus numbers of the basis `q_0..q_level, p_0..` with `specials` special primes.
    pub(crate) fn extended_basis(&self, level: usize, specials: usize) -> Vec<usize> {
        let first = self.max_level() + 1;
        (0..=level).chain(first..first + specials).collect()
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

//! Plaintexts to be multiplied with ciphertexts: the weights of networks.
//!
//! Values that repeat with period `p` are a polynomial in `X^(slots / p)`, which in transformed order is constant on runs of
//! `slots / p` residues: one of each run is held, and it comes from a transform of a ring as much smaller. What is held, the
//! transformed residues modulo every prime or only the integers, decides between time and memory ([`Held`]).

use std::sync::{Arc, OnceLock};

use super::context::Context;
use super::encoder::{Coefficients, Lift, plaintext_accessors};
use super::error::CkksError;
use super::par;
use crate::math::backend::Backend;
use crate::math::modulus::Modulus;
use crate::math::ntt::Plan;
use crate::math::packed::{self, PackedPoly, TILE};
use crate::math::poly::RnsPoly;
use crate::math::special_fft::SpecialFft;

/// In what form plaintexts wait for their multiplication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Transformed, modulo every prime up to the level: nothing to do when it comes.
    Residues,
    /// Integers, packed: less memory by the number of primes and more; lifted and transformed limb by limb, in cache, where they are
    /// used.
    Coefficients,
}

/// A plaintext to be multiplied with ciphertexts.
#[derive(Clone)]
pub struct PlaintextMul {
    store: Store,
    log_run: u32,
    pub(crate) level: usize,
    pub(crate) scale: f64,
    pub(crate) id: u64,
}

/// Where a plaintext lies, with others that were encoded with it: one large buffer can lie in huge pages.
#[derive(Clone)]
enum Store {
    /// Residues in Montgomery form, in the limbs from `first` on.
    Residues { words: Arc<RnsPoly>, first: usize },
    /// Signed integers, limb `at`; `lift` makes residues of them.
    Integers { words: Arc<PackedPoly>, at: usize, degree: usize, width: usize, lift: Lift },
}

plaintext_accessors!(PlaintextMul);

impl PlaintextMul {
    /// Residues of a limb that equal each other, as a power of two.
    pub(super) fn log_run(&self) -> u32 {
        self.log_run
    }

    /// Words that [`Context::factor_limb`] needs to work in.
    pub(super) fn scratch(&self) -> usize {
        match self.store {
            Store::Residues { .. } => 0,
            Store::Integers { degree, .. } => degree,
        }
    }
}

/// Tables of a ring of degree `n / 2^k`, whose polynomials in `X^(2^k)` are the repeating ones here.
struct SmallRing {
    plans: Vec<Plan>,
    fft: SpecialFft,
}

/// The smaller rings, made when first used.
pub(super) struct SmallRings(Vec<OnceLock<SmallRing>>);

/// Degree below which transforms are not worth tables of their own, and integers cannot be packed.
const SMALLEST: usize = 64;

/// Coefficients of plaintexts that are encoded together and held at one width.
const TOGETHER: usize = 1 << 22;

impl SmallRings {
    pub fn new(n: usize) -> Self {
        Self((0..(n / SMALLEST).max(1).ilog2()).map(|_| OnceLock::new()).collect())
    }

    /// Largest `k`.
    fn depth(&self) -> u32 {
        self.0.len() as u32
    }
}

impl SmallRing {
    fn new(n: usize, moduli: &[Modulus], backend: Backend) -> Self {
        let mut plans: Vec<_> = moduli.iter().filter_map(|m| Plan::new(n, *m, backend)).collect();
        Plan::side_by_side(&mut plans);
        Self { plans, fft: SpecialFft::new(n / 2, backend) }
    }
}

impl Context {
    /// Transforms of polynomials in `X^(2^log_run)`: of slots, and modulo each prime.
    fn ring(&self, log_run: u32) -> (&SpecialFft, &[Plan]) {
        let Some(cell) = (log_run as usize).checked_sub(1).and_then(|k| self.small_rings.0.get(k)) else {
            return (&self.fft, &self.plans);
        };
        let ring = cell.get_or_init(|| {
            let moduli: Vec<_> = self.level_plans(self.max_level()).map(|p| *p.modulus()).collect();
            SmallRing::new(self.n >> log_run, &moduli, self.backend)
        });
        (&ring.fft, &ring.plans)
    }

    /// Encode for multiplication with ciphertexts at any level up to `level`.
    ///
    /// # Errors
    /// As for [`Context::encode`].
    pub fn encode_mul(&self, values: &[f64], level: usize, scale: f64) -> Result<PlaintextMul, CkksError> {
        let log_run = if values.len() == self.slots() { log_copies(values) } else { 0 };
        let (period, all) = (self.slots() >> log_run, |_| values.to_vec());
        let mut made = self.encode_muls(1, period, &all, level, scale, Held::Residues)?;
        made.pop().ok_or(CkksError::Empty { operation: "encode" })
    }

    /// Encode `count` vectors, each of which repeats after `period` slots (a power of two), as [`Context::encode_mul`] does: in
    /// parallel, and side by side in memory.
    ///
    /// # Errors
    /// As for [`Context::encode`].
    pub fn encode_muls(
        &self,
        count: usize,
        period: usize,
        values: &(dyn Fn(usize) -> Vec<f64> + Sync),
        level: usize,
        scale: f64,
        held: Held,
    ) -> Result<Vec<PlaintextMul>, CkksError> {
        let log_run = (self.slots() / period.clamp(1, self.slots())).ilog2().min(self.small_rings.depth());
        let (fft, plans) = self.ring(log_run);
        let degree = self.n >> log_run;
        let encode = |i: usize| -> Result<Coefficients, CkksError> {
            let values = values(i);
            let once = values.get(..fft.slots()).filter(|_| log_run > 0).unwrap_or(&values);
            let c = self.coefficients_of_slots(fft, once, &[], scale)?;
            self.check_fits(&c, level)?;
            Ok(c)
        };
        let mut stores = Vec::with_capacity(count);
        if held == Held::Residues {
            let each = level.min(self.max_level()) + 1;
            let mut words = RnsPoly::zero(degree, each * count);
            let mut all = words.limbs_mut().into_iter();
            let work: Vec<Vec<_>> = (0..count).map(|_| all.by_ref().take(each).collect()).collect();
            let made = par::map(work.into_iter().enumerate().collect(), |(i, limbs)| {
                self.hold(&encode(i)?, plans, limbs);
                Ok(())
            });
            made.into_iter().collect::<Result<(), CkksError>>()?;
            let words = Arc::new(words);
            stores.extend((0..count).map(|i| Store::Residues { words: Arc::clone(&words), first: i * each }));
        } else {
            let size = (TOGETHER / degree).max(1);
            for first in (0..count).step_by(size) {
                let made = par::map((first..count.min(first + size)).collect(), encode);
                self.pack_integers(&made.into_iter().collect::<Result<Vec<_>, _>>()?, degree, &mut stores);
            }
        }
        let made = |store| PlaintextMul { store, log_run, level, scale, id: self.id() };
        Ok(stores.into_iter().map(made).collect())
    }

    /// Pack coefficients at the width that all of them need.
    fn pack_integers(&self, coded: &[Coefficients], degree: usize, stores: &mut Vec<Store>) {
        let all = coded.iter().flat_map(|c| c.words());
        // A sign, and what is left of the largest magnitude.
        let largest = all.fold(0, |bits, x| bits | (*x as i64 ^ (*x as i64 >> 63)) as u64);
        let width = (packed::width(largest) + 1).max(8);
        let mut words = PackedPoly::integers(degree, width, coded.len());
        let work: Vec<_> = words.limbs_mut().into_iter().zip(coded).collect();
        par::for_each(work, |(out, c)| packed::pack(self.backend, width, out, c.words()));
        let words = Arc::new(words);
        stores.extend(coded.iter().enumerate().map(|(at, c)| Store::Integers {
            words: Arc::clone(&words),
            at,
            degree,
            width,
            lift: c.lift(),
        }));
    }

    /// Write residues into the limbs that hold them.
    fn hold(&self, c: &Coefficients, plans: &[Plan], limbs: Vec<&mut [u64]>) {
        for (limb, plan) in limbs.into_iter().zip(plans) {
            self.residues(plan, c.lift(), c.words(), plan.modulus().radix_squared(), limb);
        }
    }

    /// Bring encoded coefficients to the form for multiplication at `level`.
    ///
    /// # Errors
    /// As for [`Context::expand`].
    pub fn expand_mul(&self, c: &Coefficients, level: usize) -> Result<PlaintextMul, CkksError> {
        self.check_fits(c, level)?;
        let mut words = RnsPoly::zero(self.n, level + 1);
        self.hold(c, &self.plans, words.limbs_mut());
        let store = Store::Residues { words: Arc::new(words), first: 0 };
        Ok(PlaintextMul { store, log_run: 0, level, scale: c.scale(), id: self.id() })
    }

    /// Limb `i` in Montgomery form, one residue of each run; made in `scratch` where it is not held.
    pub(super) fn factor_limb<'a>(&self, p: &'a PlaintextMul, i: usize, scratch: &'a mut [u64]) -> &'a [u64] {
        let (words, at, width, lift) = match &p.store {
            Store::Residues { words, first } => return words.limb(first + i),
            Store::Integers { words, at, width, lift, .. } => (words, *at, *width, *lift),
        };
        if let Some(plan) = self.ring(p.log_run).1.get(i) {
            let (size, mut integers) = (packed::words(TILE, width), [0; TILE]);
            for (tile, out) in scratch.chunks_mut(TILE).enumerate() {
                let integers = integers.split_at_mut(out.len()).0;
                packed::unpack::<true>(
                    self.backend,
                    width,
                    integers,
                    packed::nth(words.limb(at), size, tile),
                );
                self.lift(plan.modulus(), lift, integers, plan.modulus().radix_squared(), out);
            }
            plan.forward(scratch);
        }
        scratch
    }
}

/// How often `values`, a power of two of them, repeat, as a power of two.
fn log_copies(values: &[f64]) -> u32 {
    let mut rest = values;
    let mut log = 0;
    while rest.len() > 1 {
        let (a, b) = rest.split_at(rest.len() / 2);
        if a != b {
            break;
        }
        (rest, log) = (a, log + 1);
    }
    log
}

#[cfg(test)]
mod tests {
    use super::super::{ToyParams, toy};
    use super::*;

    #[test]
    fn what_is_held_as_integers_multiplies_as_what_is_held_as_residues() {
        let ctx = Context::insecure(&ToyParams::new(toy(9)).unwrap()).unwrap();
        let level = ctx.max_level();
        for (log_run, scale) in
            [(0, 2f64.powi(40)), (3, 2f64.powi(40)), (4, 2f64.powi(70)), (8, 2f64.powi(40))]
        {
            let period = ctx.slots() >> log_run;
            let values = |k: usize| -> Vec<f64> {
                (0..ctx.slots()).map(|i| ((i % period) as f64 * 0.7 + k as f64).sin()).collect()
            };
            let [a, b] = [Held::Residues, Held::Coefficients]
                .map(|held| ctx.encode_muls(3, period, &values, level, scale, held).unwrap());
            for (k, (a, b)) in a.iter().zip(&b).enumerate() {
                let mut scratch = vec![0; b.scratch()];
                for i in 0..=level {
                    assert_eq!(ctx.factor_limb(a, i, &mut []), ctx.factor_limb(b, i, &mut scratch));
                }
                // The polynomial that the large ring gives, up to roundings of the slots' transforms.
                let coefficients = ctx.encode_coefficients(&values(k), scale).unwrap();
                let whole = ctx.expand_mul(&coefficients, level).unwrap();
                let back = |p: &PlaintextMul, plan: &Plan| -> Vec<i64> {
                    let mut x = ctx.factor_limb(p, 0, &mut []).to_vec();
                    plan.inverse(&mut x);
                    x.iter().map(|v| plan.modulus().centred(plan.modulus().from_mont(*v))).collect()
                };
                let large = back(&whole, &ctx.plans[0]);
                let small = back(a, &ctx.ring(a.log_run()).1[0]);
                assert_eq!(small.len(), large.len() >> a.log_run());
                let q = ctx.plans[0].modulus().value() as i64;
                let limit = if scale > 2f64.powi(62) { 1 << (scale.log2() as u32 - 50) } else { 1 };
                for (i, (s, l)) in small.iter().zip(large.iter().step_by(1 << a.log_run())).enumerate() {
                    let apart = (s - l).rem_euclid(q).min((l - s).rem_euclid(q));
                    assert!(apart <= limit, "coefficient {i}: {s} and {l}");
                }
            }
        }
    }
}

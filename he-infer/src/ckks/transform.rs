//! Linear maps on slots, hoisted once or twice ([`Hoisting`]): `y = sum_i d_i * rot_i(x)` with baby and giant steps
//! (Halevi, Shoup 2014, 2018; Bossuat et al. 2021).
//!
//! Offsets are `(g n1 + b) stride`. Double-hoisted, the babies' rotations are kept over `Q_l P`, multiplied there with plaintexts
//! over the same basis, and only the sums of the giants are divided by `P`; giants are joined by Horner's rule, so that one
//! key serves them all:
//!
//! ```text
//! y = B_0 + rot(B_1 + rot(B_2 + ...)),   B_g = sum_b rot_(-g n1 stride)(d_(g n1 + b)) * rot_(b stride)(x)
//! ```
//! Work is ordered by limb: at one modulus, digits are raised, all babies computed and all sums formed before the next.
//!
//! A diagonal with period `p` is a polynomial in `X^(slots / p)`. In transformed (bit-reversed) order it is constant on runs of
//! `slots / p` residues, so only `2 p` residues are kept: the matrices of a homomorphic Fourier transform shrink from
//! gigabytes to what the caches hold.

use super::ciphertext::Ciphertext;
use super::context::{Context, GadgetTables, check_scales};
use super::error::CkksError;
use super::hoisting::{Hoisting, TransformPlan, log_run};
use super::keys::{EvalKeys, KeyName, SwitchKey};
use super::par;
use crate::math::poly::RnsPoly;
use crate::math::vector;

/// Nonzero diagonals of a matrix on complex slots, each given over one period.
#[derive(Clone, Debug, Default)]
pub struct Diagonals {
    /// Common distance of the offsets.
    pub stride: usize,
    /// `diagonals[i]` belongs to offset `i * stride`; `None` where it is zero. Real and imaginary parts have one length, a
    /// power of two, with which they repeat.
    pub diagonals: Vec<Option<(Vec<f64>, Vec<f64>)>>,
}

/// A linear map prepared for ciphertexts of one level and scale.
pub struct LinearTransform {
    level: usize,
    scale_in: f64,
    pub(super) scale_out: f64,
    /// Scale of the plaintexts.
    pub(super) plain_scale: f64,
    hoisting: Hoisting,
    /// Steps of the baby rotations (the first is 0) and of the giant one.
    pub(super) babies: Vec<i32>,
    pub(super) giant: i32,
    /// `sums[g]`: `(baby, plaintext)`.
    pub(super) sums: Vec<Vec<(usize, Compact)>>,
    id: u64,
}

/// A plaintext over `q_0..q_level`, and `p_0..` for double hoisting, in Montgomery form, one residue per run of `2^log_run`
/// equal ones.
pub(super) struct Compact {
    limbs: Vec<Vec<u64>>,
    log_run: u32,
}

/// Coefficients handled while their babies stay in the second-level cache.
const TILE: usize = 2048;

impl LinearTransform {
    /// Level of the ciphertexts it takes; results are one level lower.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }

    /// Rotation keys it needs, as [`super::KeySpec`] wants them.
    #[must_use]
    pub fn rotations(&self) -> Vec<(i32, usize)> {
        let giant = (self.sums.len() > 1).then_some(self.giant);
        self.babies.iter().copied().chain(giant).filter(|s| *s != 0).map(|s| (s, self.level)).collect()
    }

    /// Bytes of its plaintexts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let plains = self.sums.iter().flatten();
        plains.map(|(_, p)| p.limbs.iter().map(|l| 8 * l.len() as u64).sum::<u64>()).sum()
    }
}

impl Context {
    /// Prepare `matrix` for ciphertexts at `level` with `scale_in`; results have exactly `scale_out`. The cheapest `plan` is
    /// found by [`crate::slots::cheapest_plan`].
    ///
    /// # Errors
    /// Level 0 or above the top, scales that leave no room, non-finite entries.
    pub fn linear_transform(
        &self,
        matrix: &Diagonals,
        level: usize,
        scale_in: f64,
        scale_out: f64,
        plan: TransformPlan,
    ) -> Result<LinearTransform, CkksError> {
        const OP: &str = "linear_transform";
        self.check_level(OP, level)?;
        let q = match self.modulus_at(level) {
            Some(q) if level > 0 => q as f64,
            _ => return Err(CkksError::NoLevelLeft { operation: OP }),
        };
        let scale = scale_out * q / scale_in;
        let babies = plan.babies.clamp(1, matrix.diagonals.len().next_power_of_two());
        let specials = match plan.hoisting {
            Hoisting::Single => 0,
            Hoisting::Double => self.gadget_tables(level).gadget.specials,
        };
        let step = |i: usize| self.normalise_step((i * matrix.stride % self.slots()) as i32);
        let chunks: Vec<_> = matrix.diagonals.chunks(babies).enumerate().collect();
        let sums = par::map(chunks, |(g, row)| {
            let present = row.iter().enumerate().filter_map(|(b, d)| d.as_ref().map(|d| (b, d)));
            present
                .map(|(b, (re, im))| {
                    let turned = |x: &[f64]| turn(x, g * babies * matrix.stride, self.slots());
                    let run = log_run(self.slots(), re.len());
                    Ok((b, self.compact(&turned(re), &turned(im), run, (level, specials), scale)?))
                })
                .collect::<Result<Vec<_>, CkksError>>()
        });
        let sums = sums.into_iter().collect::<Result<Vec<_>, _>>()?;
        let used = sums.iter().flatten().map(|(b, _)| *b).max().unwrap_or(0);
        let babies_at = (0..=used).map(step).collect();
        Ok(LinearTransform {
            level,
            scale_in,
            scale_out,
            plain_scale: scale,
            hoisting: plan.hoisting,
            babies: babies_at,
            giant: step(babies),
            sums,
            id: self.id(),
        })
    }

    fn compact(
        &self,
        re: &[f64],
        im: &[f64],
        log_run: u32,
        (level, specials): (usize, usize),
        scale: f64,
    ) -> Result<Compact, CkksError> {
        let coefficients = self.encode_complex_coefficients(re, im, scale)?;
        let poly = self.expand_extended(&coefficients, level, specials)?;
        let limbs = poly.iter().map(|l| l.iter().step_by(1 << log_run).copied().collect()).collect();
        Ok(Compact { limbs, log_run })
    }

    /// Apply a prepared linear map; the level falls by one.
    ///
    /// # Errors
    /// A ciphertext of other parameters, level or scale than the map was prepared for, or a missing key.
    pub fn apply_transform(
        &self,
        transform: &LinearTransform,
        ct: &Ciphertext,
        keys: &EvalKeys,
    ) -> Result<Ciphertext, CkksError> {
        const OP: &str = "apply_transform";
        self.check_ct(OP, ct)?;
        self.check_id(OP, "linear transform", transform.id)?;
        if ct.level != transform.level {
            return Err(CkksError::LevelMismatch { operation: OP, left: ct.level, right: transform.level });
        }
        check_scales(OP, ct.scale, transform.scale_in)?;
        if transform.hoisting == Hoisting::Single {
            return self.apply_single_hoisted(transform, ct, keys);
        }
        let tables = self.gadget_tables(ct.level);
        let find = |step: i32| {
            let key = keys.find(OP, KeyName::Rotation(step), ct.level)?;
            self.check_key(OP, "rotation key", key, ct)?;
            if key.gadget == tables.gadget {
                Ok(key)
            } else {
                let key = format!("rotation by {step} made for level {}", ct.level);
                Err(CkksError::MissingKey { operation: OP, key })
            }
        };
        let babies: Vec<Option<&SwitchKey>> = transform
            .babies
            .iter()
            .map(|s| if *s == 0 { Ok(None) } else { find(*s).map(Some) })
            .collect::<Result<_, _>>()?;
        let mut sums = self.baby_sums(transform, ct, &babies, tables).into_iter().rev();
        let Some(mut acc) = sums.next() else { return Err(CkksError::Empty { operation: OP }) };
        if transform.sums.len() > 1 {
            let key = find(transform.giant)?;
            for sum in sums {
                acc = self.giant_step(acc, sum, key, ct.level, tables);
            }
        }
        let mut out = self.blank_ct(ct.level - 1, transform.scale_out, ct.owner);
        let outs = [&mut out.c0, &mut out.c1];
        self.divide_by_special(acc.iter().zip(outs), ct.level, tables, true);
        Ok(out)
    }

    /// `B_g` for every giant, over `q_0..q_level, p_0..`.
    fn baby_sums(
        &self,
        transform: &LinearTransform,
        ct: &Ciphertext,
        keys: &[Option<&SwitchKey>],
        tables: &GadgetTables,
    ) -> Vec<[RnsPoly; 2]> {
        let level = ct.level;
        let digits = self.digits_of(&ct.c1, level, tables);
        let basis = self.extended_basis(level, tables.gadget.specials);
        let blank = || self.scratch_poly(basis.len());
        let mut sums: Vec<[RnsPoly; 2]> = transform.sums.iter().map(|_| [blank(), blank()]).collect();
        let mut outs: Vec<_> =
            sums.iter_mut().map(|[a, b]| (a.limbs_mut().into_iter(), b.limbs_mut().into_iter())).collect();
        let mut work = Vec::new();
        for (first, group) in self.grouped(&basis) {
            let at: Vec<Vec<_>> = group
                .iter()
                .map(|_| outs.iter_mut().filter_map(|(a, b)| Some((a.next()?, b.next()?))).collect())
                .collect();
            work.push((first, group, at));
        }
        par::for_each(work, |(first, group, outs)| {
            let raised = self.raise_group(&digits, group);
            for (k, (t, outs)) in group.iter().zip(outs).enumerate() {
                let parts = self.digits_at(&digits, &raised, (first + k, k, *t));
                self.baby_sums_at(transform, ct, keys, (first + k, *t), &parts, outs);
            }
        });
        sums
    }

    /// The sums at one modulus `(position in the basis, number)`, from the raised digits there.
    fn baby_sums_at(
        &self,
        transform: &LinearTransform,
        ct: &Ciphertext,
        keys: &[Option<&SwitchKey>],
        (i, t): (usize, usize),
        parts: &[&[u64]],
        outs: Vec<(&mut [u64], &mut [u64])>,
    ) {
        let Some(plan) = self.plans.get(t) else { return };
        // The unrotated input over the extended basis: `P c` divided by `P`, and zero modulo the special primes.
        let [c0, c1] = [&ct.c0, &ct.c1].map(|c| Some(c.limb(t)).filter(|_| t <= ct.level));
        let mut turned = self.scratch_poly(2 * keys.len());
        let mut product = self.scratch_poly(2);
        let mut limbs = turned.limbs_mut().into_iter();
        for key in keys {
            let (Some(out0), Some(out1)) = (limbs.next(), limbs.next()) else { return };
            let Some(key) = key else {
                for (out, c) in [(out0, c0), (out1, c1)] {
                    match c {
                        Some(c) => out.copy_from_slice(c),
                        None => out.fill(0),
                    }
                }
                continue;
            };
            let mut halves = product.limbs_mut().into_iter();
            let (Some(u0), Some(u1)) = (halves.next(), halves.next()) else { return };
            self.key_product(t, parts, key, u0, u1);
            if let Some(p) = &key.permutation {
                p.apply_sum(self.backend, plan.modulus(), out0, u0, c0);
                p.apply(self.backend, out1, u1);
            }
        }
        let turned: Vec<_> = turned.iter().collect();
        self.spread_sums(transform, (i, t), &turned, outs);
    }

    /// The giants' sums at modulus number `t`, limb `i` of the plaintexts, from both halves of every baby there.
    pub(super) fn spread_sums(
        &self,
        transform: &LinearTransform,
        (i, t): (usize, usize),
        babies: &[&[u64]],
        mut outs: Vec<(&mut [u64], &mut [u64])>,
    ) {
        let Some(plan) = self.plans.get(t) else { return };
        for start in (0..self.n).step_by(TILE) {
            let range = start..(start + TILE).min(self.n);
            for ((out0, out1), sum) in outs.iter_mut().zip(&transform.sums) {
                let terms: Vec<_> = sum
                    .iter()
                    .map(|(b, p)| {
                        let limb = p.limbs.get(i).map_or(&[][..], |l| l);
                        let plain = limb.get(start >> p.log_run..).unwrap_or(&[]);
                        let half =
                            |k: usize| babies.get(2 * b + k).and_then(|l: &&[u64]| l.get(range.clone()));
                        let (x, y) = (half(0).unwrap_or(&[]), half(1).unwrap_or(&[]));
                        vector::Spread { plain, log_run: p.log_run, x, y }
                    })
                    .collect();
                if let (Some(o0), Some(o1)) = (out0.get_mut(range.clone()), out1.get_mut(range.clone())) {
                    vector::dot_spread(self.backend, plan.modulus(), o0, o1, &terms);
                }
            }
        }
    }

    /// `sum + rot(acc)` over the extended basis.
    fn giant_step(
        &self,
        [a0, a1]: [RnsPoly; 2],
        [mut s0, mut s1]: [RnsPoly; 2],
        key: &SwitchKey,
        level: usize,
        tables: &GadgetTables,
    ) -> [RnsPoly; 2] {
        let mut c1 = self.scratch_poly(level + 1);
        self.divide_by_special([(&a1, &mut c1)], level, tables, false);
        self.add_turned(&self.digits_of(&c1, level, tables), key, &a0, [&mut s0, &mut s1]);
        [s0, s1]
    }
}

/// A periodic vector over all slots, rotated right by `by`.
fn turn(x: &[f64], by: usize, slots: usize) -> Vec<f64> {
    let period = x.len().max(1);
    let back = by % period;
    let from = x.iter().cycle().skip(period - back);
    from.take(slots).copied().collect()
}

//! The work of the procedure: each function here counts what its namesake in `run.rs` does.
//!
//! The modular reduction is counted by running it on a [`CostCounter`], the matrices from where their diagonals are.

use super::Order;
use super::eval_mod::EvalMod;
use super::layout::{Layout, Placed, Transform};

use crate::HeError;
use crate::ckks::{Gadget, ParamsLiteral};
use crate::slots::{CostCounter, CostVec, Tally, transform_tally};

/// Counts for one parameter set.
pub(super) struct RunTally<'a> {
    params: &'a ParamsLiteral,
    layout: &'a Layout,
    reduce: Tally,
}

impl<'a> RunTally<'a> {
    /// # Errors
    /// What the modular reduction finds wrong with levels or scales.
    pub fn new(params: &'a ParamsLiteral, layout: &'a Layout) -> Result<Self, HeError> {
        Ok(Self { params, layout, reduce: reduce(params, layout)? })
    }

    /// One real ciphertext.
    pub fn bootstrap(&self) -> Tally {
        let run = match self.layout.order {
            Order::SlotsFirst => {
                total([self.to_slots(), self.twice_real(self.layout.reduced_at), self.reduce.clone()])
            }
            Order::RaiseFirst => total([self.run_complex(), self.twice_real(self.layout.output_level)]),
        };
        self.refine(1, true, run)
    }

    /// Two real ciphertexts.
    pub fn bootstrap_pair(&self) -> Tally {
        let joined = passes(JOIN, self.layout.input_level);
        let run = match self.layout.order {
            Order::SlotsFirst => {
                let parts = self.twice_parts(self.layout.reduced_at);
                total([joined, self.to_slots(), parts, self.reduce.clone(), self.reduce.clone()])
            }
            Order::RaiseFirst => {
                total([joined, self.run_complex(), self.twice_parts(self.layout.output_level)])
            }
        };
        self.refine(2, true, run)
    }

    /// One complex ciphertext.
    pub fn bootstrap_complex(&self) -> Tally {
        self.refine(1, false, self.run_complex())
    }

    fn refine(&self, ciphertexts: usize, real: bool, run: Tally) -> Tally {
        if self.layout.magnification.is_none() {
            return run;
        }
        let Layout { input_level, output_level, .. } = *self.layout;
        let mut each = self.add_copies(output_level);
        if real {
            each = each.plus(&self.twice_real(output_level));
        }
        // Two copies, their difference, its multiple; at the output level a copy and the final sum.
        each = each.plus(&passes(4, input_level)).plus(&passes(2, output_level));
        total(std::iter::repeat_n(each, ciphertexts).chain([run.clone(), run]))
    }

    fn run_complex(&self) -> Tally {
        let Layout { reduced_at, .. } = *self.layout;
        let reduced = reduced_at - self.layout.eval_mod.depth();
        let mut all = total([
            self.to_slots(),
            self.twice_parts(reduced_at),
            self.reduce.clone(),
            self.reduce.clone(),
            passes(JOIN, reduced),
        ]);
        if self.layout.order == Order::RaiseFirst {
            all = all.plus(&self.transform(&self.layout.down));
        }
        all
    }

    fn to_slots(&self) -> Tally {
        let Layout { top, input_level, .. } = *self.layout;
        let mut first = match self.layout.order {
            Order::SlotsFirst => self.transform(&self.layout.down),
            Order::RaiseFirst => Tally::default(),
        };
        if self.layout.order == Order::RaiseFirst && input_level > 0 {
            first = passes(1, input_level);
            first.rescale(input_level + 1);
        }
        total([first, raise_modulus(top), self.add_copies(top), self.transform(&self.layout.up)])
    }

    fn transform(&self, transform: &Transform) -> Tally {
        total(transform.matrices.iter().map(|m| self.matrix(m)))
    }

    /// One application of a matrix.
    pub fn matrix(&self, m: &Placed) -> Tally {
        transform_tally(self.params, m.level, &m.sparsity, m.plan)
    }

    /// The trace, whose keys are those of the top level.
    fn add_copies(&self, level: usize) -> Tally {
        let one = self.galois(level, self.layout.top).plus(&passes(1, level));
        total(std::iter::repeat_n(one, self.layout.trace.len()))
    }

    fn twice_real(&self, level: usize) -> Tally {
        self.galois(level, self.layout.reduced_at).plus(&passes(1, level))
    }

    fn twice_parts(&self, level: usize) -> Tally {
        // A copy, a sum, a difference, the imaginary unit.
        self.galois(level, self.layout.reduced_at).plus(&passes(4, level))
    }

    /// A rotation or conjugation at `level` with a key for `key_level`.
    fn galois(&self, level: usize, key_level: usize) -> Tally {
        let gadget = self.params.gadget(key_level);
        let mut t = Tally { rotations: 1, ..Tally::default() };
        t.decompose(level + 1, gadget);
        t.apply_key(level + 1, gadget);
        t
    }
}

/// Passes of joining two ciphertexts: the imaginary unit and a sum.
const JOIN: usize = 2;

/// Element-wise passes over both halves of a ciphertext.
fn passes(count: usize, level: usize) -> Tally {
    Tally { pointwise: 2 * (count * (level + 1)) as u64, ..Tally::default() }
}

fn total(parts: impl IntoIterator<Item = Tally>) -> Tally {
    parts.into_iter().fold(Tally::default(), |sum, part| sum.plus(&part))
}

/// Switching to the sparse secret at level 0, and back after centred lifts to the top.
fn raise_modulus(top: usize) -> Tally {
    let mut t = Tally::default();
    let single = |level: usize| Gadget { alpha: level + 1, specials: 1 };
    for level in [0, top] {
        // The integer polynomial at every prime of the key, and the other half at those of the ciphertext.
        let limbs = level as u64 + 1;
        t.ntts += 1 + (limbs + 1) + limbs;
        t.pointwise += 2 * limbs + 1;
        t.apply_key(level + 1, single(level));
    }
    t
}

/// One modular reduction. The factors that `run.rs` multiplies the scale by cost nothing.
fn reduce(params: &ParamsLiteral, layout: &Layout) -> Result<Tally, HeError> {
    let level = layout.reduced_at;
    // One relinearisation key serves all its levels, with the gadget of the highest.
    let gadgets = vec![params.gadget(level); params.q.len()];
    let counter = CostCounter::new(1 << (params.log_n - 1), &params.q, gadgets);
    let y = CostVec { level, scale: EvalMod::input_scale(&params.q, level) };
    layout.eval_mod.apply(&counter, &y, &params.q, params.default_scale * layout.ratio)?;
    Ok(counter.tally())
}

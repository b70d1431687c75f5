//! How a polynomial is evaluated, decided before anything is: which powers, which quotients, what is added where.
//!
//! Baby steps and giant steps (Paterson, Stockmeyer 1973): `p = Σ qᵢ·T_{mᵢ} + r`, dividing by the largest permitted `T_m` until
//! only baby powers remain, each quotient in the same way one level higher. All products of one sum share a
//! relinearisation and a rescaling, and the remainder joins them before either, so it costs neither.
//!
//! Depth is minimal, `⌈log₂(d + 1)⌉`: quotients that would come one level too late are divided further, by smaller powers.
//! Divisors are the multiples of the baby size up to a second bound, then powers of two. Both bounds are tried, and the
//! cheapest scheme is taken. Only powers that some sum reads are made, each as late as its first reader allows: even and
//! odd polynomials get by with the powers of their parity, and zero coefficients cost nothing.

use std::collections::BTreeMap;

use hetrain_export::Basis;

/// One rescaled sum `Σ qᵢ·T_{mᵢ} + Σ cⱼ·Tⱼ + constant`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sum {
    /// Levels below the input at which the result lies.
    pub(crate) depth: usize,
    /// Divisors with their quotients.
    pub(crate) products: Vec<(usize, Sum)>,
    /// Powers with their coefficients.
    pub(crate) terms: Vec<(usize, f64)>,
    /// The coefficient of degree 0.
    pub(crate) constant: f64,
}

/// A polynomial ready for evaluation.
#[derive(Clone, Debug)]
pub(crate) struct Scheme {
    pub(crate) basis: Basis,
    /// Powers `x^i` or `T_i(x)` in ascending order, except the first, and the levels below the input at which each lies.
    pub(crate) powers: BTreeMap<usize, usize>,
    pub(crate) root: Sum,
}

/// Factors of a power: the larger, a power of two, keeps the depth minimal.
pub(crate) fn factors(i: usize) -> (usize, usize) {
    let a = 1 << levels(i).saturating_sub(1);
    (a, i - a)
}

/// Levels below the input at which power `i` becomes available: `⌈log₂ i⌉`.
fn levels(i: usize) -> usize {
    if i <= 1 { 0 } else { (usize::BITS - (i - 1).leading_zeros()) as usize }
}

/// Degree without leading zeros.
fn degree(coeffs: &[f64]) -> usize {
    coeffs.iter().rposition(|c| *c != 0.0).unwrap_or(0)
}

/// Levels an evaluation takes: `⌈log₂(d + 1)⌉`, and one for a constant.
pub(crate) fn depth(coeffs: &[f64]) -> usize {
    (usize::BITS - degree(coeffs).leading_zeros()).max(1) as usize
}

impl Scheme {
    /// The cheapest scheme for an input at `level`.
    pub(crate) fn new(basis: Basis, coeffs: &[f64], level: usize) -> Self {
        let bits = depth(coeffs);
        let sizes = (0..=bits).flat_map(|baby| (baby..=bits).map(move |middle| (1 << baby, 1 << middle)));
        let schemes = sizes.map(|(baby, middle)| Builder::build(basis, coeffs, baby, middle));
        // The iterator is never empty; the plain power sum is as good a scheme as any other.
        schemes
            .min_by_key(|s| s.cost(level))
            .unwrap_or_else(|| Builder::build(basis, coeffs, usize::MAX, usize::MAX))
    }

    /// Levels below the input at which the result lies.
    pub(crate) fn depth(&self) -> usize {
        self.root.depth
    }

    /// Most vectors alive at once: the input, the powers, and the quotients of sums that wait for their last one.
    pub(crate) fn alive(&self) -> usize {
        1 + self.powers.len() + self.root.alive()
    }

    /// Work in rough units: limbs of a sum, weighted by what a relinearisation, a rescaling, a product and a multiple take.
    fn cost(&self, level: usize) -> usize {
        let limbs = |depth: usize| (level + 2).saturating_sub(depth).max(1);
        let powers: usize = self.powers.values().map(|&d| limbs(d) * (RELINEARISE + PRODUCT + TERM)).sum();
        powers + self.root.cost(&limbs)
    }
}

const RELINEARISE: usize = 32;
const RESCALE: usize = 8;
const PRODUCT: usize = 2;
const TERM: usize = 1;

impl Sum {
    fn alive(&self) -> usize {
        let waiting = self.products.iter().enumerate().map(|(before, (_, q))| before + q.alive());
        waiting.max().unwrap_or(0).max(self.products.len() + 1)
    }

    fn cost(&self, limbs: &dyn Fn(usize) -> usize) -> usize {
        let finish = if self.products.is_empty() { RESCALE } else { RELINEARISE };
        let own = finish + PRODUCT * self.products.len() + TERM * self.terms.len();
        limbs(self.depth) * own + self.products.iter().map(|(_, q)| q.cost(limbs)).sum::<usize>()
    }
}

struct Builder {
    basis: Basis,
    /// Remainders of a smaller degree are not divided.
    baby: usize,
    /// Divisors are multiples of `baby` below this, powers of two above.
    middle: usize,
    powers: BTreeMap<usize, usize>,
}

impl Builder {
    fn build(basis: Basis, coeffs: &[f64], baby: usize, middle: usize) -> Scheme {
        let mut b = Self { basis, baby, middle, powers: BTreeMap::new() };
        let mut root = b.sum(coeffs.to_vec(), depth(coeffs));
        if root.products.is_empty() && root.terms.is_empty() {
            // A constant still needs a vector to stand on.
            root.terms.push((1, 0.0));
        }
        // What the powers themselves are made of, largest first, since factors are smaller.
        for i in (2..=b.powers.keys().copied().max().unwrap_or(0)).rev() {
            if let Some(&depth) = b.powers.get(&i) {
                let (big, small) = factors(i);
                b.need(big, depth - 1);
                b.need(small, depth - 1);
                if basis == Basis::Chebyshev {
                    b.need(big - small, depth - 1);
                }
            }
        }
        Scheme { basis, powers: b.powers, root }
    }

    /// Power `i` is read `depth` levels below the input.
    fn need(&mut self, i: usize, depth: usize) {
        if i > 1 {
            self.powers.entry(i).and_modify(|d| *d = depth.min(*d)).or_insert(depth);
        }
    }

    fn sum(&mut self, mut rest: Vec<f64>, depth: usize) -> Sum {
        let above = depth - 1;
        let mut sum = Sum { depth, ..Sum::default() };
        loop {
            let degree = degree(&rest);
            rest.truncate(degree + 1);
            if degree == 0 || degree < self.baby && levels(degree) <= above {
                break;
            }
            let m = self.divisor(degree, above);
            let (quotient, remainder) = self.divide(&rest, m);
            self.need(m, above);
            match quotient.as_slice() {
                [c] => sum.terms.push((m, *c)),
                _ => sum.products.push((m, self.sum(quotient, above))),
            }
            rest = remainder;
        }
        sum.constant = rest.first().copied().unwrap_or(0.0);
        for (i, &c) in rest.iter().enumerate().skip(1).filter(|(_, c)| **c != 0.0) {
            self.need(i, above);
            sum.terms.push((i, c));
        }
        sum
    }

    /// The largest permitted divisor of a polynomial of `degree` that is available after `above` levels. At least half the
    /// degree, as the division of Chebyshev series asks.
    fn divisor(&self, degree: usize, above: usize) -> usize {
        let multiple = degree / self.baby * self.baby;
        if multiple > 1 && multiple < self.middle && levels(multiple) <= above {
            multiple
        } else {
            1 << degree.ilog2()
        }
    }

    /// Quotient and remainder by power `m`.
    fn divide(&self, coeffs: &[f64], m: usize) -> (Vec<f64>, Vec<f64>) {
        let (low, high) = coeffs.split_at(m.min(coeffs.len()));
        let (mut r, mut q) = (low.to_vec(), high.to_vec());
        if self.basis == Basis::Chebyshev {
            // T_{m+j} = 2 T_m T_j − T_{m−j}
            for (j, (q, c)) in q.iter_mut().zip(high).enumerate().skip(1) {
                *q = 2.0 * c;
                if let Some(r) = r.get_mut(m - j) {
                    *r -= c;
                }
            }
        }
        (q, r)
    }
}

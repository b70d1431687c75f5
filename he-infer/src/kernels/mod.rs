//! Network operations, written once over [`SlotEvaluator`](crate::slots::SlotEvaluator).

#[cfg(test)]
mod circuits;
mod linear;
pub(crate) mod polynomial;
mod tokens;

pub(crate) use linear::{LinearWeights, linear};
pub use polynomial::CompositeSign;
pub(crate) use polynomial::{Quadratic, chebyshev_given_powers, polynomial, quadratic};
pub(crate) use tokens::{mixed, mixed_weights, products, scores};

//! One walk over the nodes of a program, for every evaluator.

use rayon::prelude::*;

use crate::HeError;
use crate::kernels::{self, LinearWeights, Quadratic};
use crate::plan::{Keep, PlannedNode, Program, Shared, Step};
use crate::slots::{ScalarMatrix, SlotEvaluator, same_scale};

/// Sees every node's result as it comes: for progress, per-layer times and comparison of rungs.
pub trait Observer<E: SlotEvaluator> {
    /// Node number `index` of the program has this value.
    ///
    /// # Errors
    /// Whatever makes the run stop here.
    fn node(&mut self, index: usize, node: &PlannedNode, value: &[E::Vec]) -> Result<(), HeError>;

    /// The last node's value has been bootstrapped.
    ///
    /// # Errors
    /// Whatever makes the run stop here.
    fn refreshed(&mut self) -> Result<(), HeError> {
        Ok(())
    }
}

/// Watches nothing.
pub struct NoObserver;

impl<E: SlotEvaluator> Observer<E> for NoObserver {
    fn node(&mut self, _: usize, _: &PlannedNode, _: &[E::Vec]) -> Result<(), HeError> {
        Ok(())
    }
}

enum Weights<E: SlotEvaluator> {
    None,
    Linear(LinearWeights<E>),
    Summands(Shared<E::Summand>),
    Quadratic(Quadratic<E>),
    Mixed(Vec<E::Factor>),
}

/// A program's weights in the form one evaluator multiplies and adds; `None` for layers whose weights are made when their turn
/// comes.
pub struct Prepared<E: SlotEvaluator> {
    weights: Vec<Option<Weights<E>>>,
}

impl<E: SlotEvaluator> Prepared<E> {
    /// Prepare all weights that are kept, in the current thread pool.
    ///
    /// # Errors
    /// Weights too large for their level: a plan for other ranges; [`HeError::Sketched`].
    pub fn new(e: &E, program: &Program) -> Result<Self, HeError> {
        let sketched = |n: &&PlannedNode| matches!(&*n.step, Step::Linear(map) if map.sketched);
        match program.nodes.iter().find(sketched) {
            Some(node) => Err(HeError::Sketched { node: node.name.clone() }),
            None => Self::counted(e, program),
        }
    }

    /// The same for an evaluator that only counts, and needs no values.
    pub(crate) fn counted(e: &E, program: &Program) -> Result<Self, HeError> {
        let late = program.keep == Keep::Nowhere;
        let one = |n: &PlannedNode| if late { Ok(None) } else { prepare(e, program, n).map(Some) };
        Ok(Self { weights: program.nodes.iter().map(one).collect::<Result<_, HeError>>()? })
    }
}

/// Scale of the plaintext that takes `from` at `level` to exactly `to` after one rescaling.
fn factor_scale(program: &Program, level: usize, from: f64, to: f64) -> Result<f64, HeError> {
    let q = program.chain.primes().get(level).ok_or(HeError::NoLevelLeft { level })?;
    Ok(to * *q as f64 / from)
}

fn input_scale(program: &Program, node: &PlannedNode) -> f64 {
    node.inputs.first().and_then(|&i| program.nodes.get(i)).map_or(1.0, |n| n.scale)
}

fn prepare<E: SlotEvaluator>(e: &E, program: &Program, node: &PlannedNode) -> Result<Weights<E>, HeError> {
    let from = input_scale(program, node);
    let summands = |values: &Shared<Vec<f64>>, level: usize, scale: f64| -> Result<_, HeError> {
        values.map(|v| e.summand(&|| v.clone(), level, scale))
    };
    Ok(match &*node.step {
        Step::Linear(map) => {
            let scale = factor_scale(program, node.level_in, from, node.scale)?;
            Weights::Linear(LinearWeights::new(e, map, node.level_in, scale, node.scale)?)
        }
        Step::Mixed { factors, .. } => {
            let level = node.operand_level(1);
            let q = program.chain.primes().get(level).map_or(1.0, |q| *q as f64);
            Weights::Mixed(kernels::mixed_weights(e, factors, level, q)?)
        }
        Step::Bias(values) => Weights::Summands(summands(values, node.level, node.scale)?),
        Step::Polynomial { fill, .. } => Weights::Summands(summands(fill, node.level_in, from)?),
        Step::Quadratic { coeffs: [c0, c1, c2] } => {
            let q = program.chain.primes();
            let square_scale = from * from / q.get(node.level_in).map_or(1.0, |&q| q as f64);
            let level = node.level_in.saturating_sub(1);
            let factors = |values: &Shared<Vec<f64>>, from: f64| -> Result<_, HeError> {
                let scale = factor_scale(program, level, from, node.scale)?;
                values.map(|v| e.factor(&|| v.clone(), level, scale))
            };
            Weights::Quadratic(Quadratic {
                c2: factors(c2, square_scale)?,
                c1: factors(c1, from)?,
                c0: summands(c0, node.level, node.scale)?,
            })
        }
        Step::Input
        | Step::Sums { .. }
        | Step::BiasConst(_)
        | Step::Square
        | Step::Add
        | Step::Mul
        | Step::Scores(_)
        | Step::Alias => Weights::None,
    })
}

/// Evaluate `program` on an encrypted (or clear, or counted) sample; values are freed after their last reader.
///
/// # Errors
/// Whatever an operation reports; [`HeError::Foreign`] when the input does not fit the program.
#[expect(clippy::indexing_slicing, reason = "inputs of planned nodes come before them")]
pub fn execute<E: SlotEvaluator>(
    e: &E,
    program: &Program,
    prepared: &Prepared<E>,
    input: Vec<E::Vec>,
    observer: &mut impl Observer<E>,
) -> Result<Vec<E::Vec>, HeError> {
    let (level, scale) = program.input_level_scale();
    if input.len() != program.input_vectors() {
        let why = format!("{} ciphertexts, the program takes {}", input.len(), program.input_vectors());
        return Err(HeError::Foreign { why });
    }
    if let Some(bad) = input.iter().find(|v| e.level(v) != level || !same_scale(e.scale(v), scale)) {
        let why = format!(
            "level {} and scale 2^{:.2}, the program takes level {level} and scale 2^{:.2}",
            e.level(bad),
            e.scale(bad).log2(),
            scale.log2()
        );
        return Err(HeError::Foreign { why });
    }
    let mut readers = vec![0usize; program.nodes.len()];
    program.nodes.iter().flat_map(|n| &n.inputs).for_each(|&i| readers[i] += 1);
    let mut values: Vec<Option<Vec<E::Vec>>> = vec![None; program.nodes.len()];
    let mut input = Some(input);
    for (index, node) in program.nodes.iter().enumerate() {
        let mut operands = Vec::with_capacity(node.inputs.len());
        for (index, &i) in node.inputs.iter().enumerate() {
            readers[i] -= 1;
            let level = node.operand_level(index);
            // The last reader takes the vectors themselves, copies are made for the others only.
            let lowered = match values[i].take() {
                Some(value) if readers[i] == 0 => {
                    let lower = |v: E::Vec| if e.level(&v) == level { Ok(v) } else { e.drop_to(&v, level) };
                    value.into_iter().map(lower).collect::<Result<Vec<_>, _>>()?
                }
                value => {
                    let lowered =
                        value.iter().flatten().map(|v| e.drop_to(v, level)).collect::<Result<Vec<_>, _>>()?;
                    values[i] = value;
                    lowered
                }
            };
            operands.push(lowered);
        }
        let late;
        let weights = match &prepared.weights[index] {
            Some(weights) => weights,
            None => {
                late = prepare(e, program, node)?;
                &late
            }
        };
        let result = match (&*node.step, weights, operands.as_slice()) {
            (Step::Input, _, _) => input.take().unwrap_or_default(),
            (Step::Linear(map), Weights::Linear(w), [x]) => kernels::linear(e, x, map, w)?,
            (Step::Sums { matrix, bias }, _, [x]) => sums(e, program, node, x, matrix, bias)?,
            (Step::Bias(_), Weights::Summands(s), [x]) => {
                x.iter().zip(s.iter()).map(|(v, s)| e.add_plain(v, s)).collect::<Result<_, _>>()?
            }
            (Step::BiasConst(c), _, [x]) => {
                x.par_iter().zip(c).map(|(v, &c)| e.add_const(v, c)).collect::<Result<_, _>>()?
            }
            (Step::Square, _, [x]) => x.par_iter().map(|v| e.square(v)).collect::<Result<_, _>>()?,
            (Step::Add, _, [a, b]) => a.iter().zip(b).map(|(a, b)| e.add(a, b)).collect::<Result<_, _>>()?,
            (Step::Mul, _, [a, b]) => kernels::products(e, a, b)?,
            (Step::Scores(tokens), _, [q, k]) => kernels::scores(e, q, k, tokens)?,
            (Step::Mixed { tokens, .. }, Weights::Mixed(w), [s, v]) => {
                kernels::mixed(e, [s, v], tokens, w, node.scale)?
            }
            (Step::Quadratic { .. }, Weights::Quadratic(w), [x]) => kernels::quadratic(e, x, w)?,
            (Step::Polynomial { poly, .. }, Weights::Summands(fill), [x]) => {
                let filled = |(i, v): (usize, &E::Vec)| match fill.get(i) {
                    Some(fill) => e.add_plain(v, fill),
                    None => Ok(v.clone()),
                };
                let x = x.iter().enumerate().map(filled).collect::<Result<Vec<_>, HeError>>()?;
                x.par_iter()
                    .map(|v| kernels::polynomial(e, v, poly, program.chain.primes(), node.scale))
                    .collect::<Result<_, _>>()?
            }
            (Step::Alias, _, [x]) => x.clone(),
            _ => {
                return Err(HeError::Foreign {
                    why: format!("node `{}` was prepared for another plan", node.name),
                });
            }
        };
        let result = result.into_iter().map(|v| e.settle(v, node.scale)).collect::<Result<Vec<_>, _>>()?;
        observer.node(index, node, &result)?;
        values[index] = Some(match &program.refreshing {
            Some(refreshing) if node.refreshed => {
                let divisor = refreshing.scale / node.scale;
                let fresh = e.refresh(&result, divisor)?;
                observer.refreshed()?;
                fresh
            }
            _ => result,
        });
    }
    values.pop().flatten().ok_or(HeError::EmptySum)
}

/// Scalar products of the batch layout: weights at the scale that lands on the node's, then one rescaling per vector.
fn sums<E: SlotEvaluator>(
    e: &E,
    program: &Program,
    node: &PlannedNode,
    x: &[E::Vec],
    matrix: &ScalarMatrix,
    bias: &[f64],
) -> Result<Vec<E::Vec>, HeError> {
    let scale = factor_scale(program, node.level_in, input_scale(program, node), node.scale)?;
    let raw = e.weighted_sums(x, matrix, scale)?;
    raw.par_iter()
        .enumerate()
        .map(|(i, v)| {
            let y = e.rescale(v)?;
            match bias.get(i) {
                Some(&b) => e.add_const(&y, b),
                None => Ok(y),
            }
        })
        .collect()
}

//! How errors travel through a network, measured where a model of it would have to guess: whether errors of neighbouring elements
//! are alike after many layers, and are averaged away by a sum or not.

use std::borrow::Cow;

use super::Interpreter;
use crate::{ExportError, Op};

/// Size of the error that is sent through, in root mean squares of a node: small enough for squares to pass it on linearly, large
/// enough beside the roundings of f64.
const PROBE: f64 = 1e-6;

/// What was measured for one sample, or for several together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carried {
    /// For each node, by what the variance of an error at each earlier node is multiplied on its way to it: mean squared error here
    /// over mean squared error there, which is independent in every element. Zero where no way leads.
    pub independent: Vec<Vec<f64>>,
    /// For each node that linear layers or sums make: what the output has of an error that grows with the value, and of one that grows
    /// with its third power, if either is 1 for the largest value seen in calibration. Mean square of the first, mean product of the
    /// two, mean square of the second. Zeros elsewhere.
    pub bent: Vec<[f64; 3]>,
}

impl Carried {
    /// For `nodes` nodes, nothing measured yet.
    fn zero(nodes: usize) -> Self {
        Self {
            independent: (0..nodes).map(|reader| vec![0.0; reader]).collect(),
            bent: vec![[0.0; 3]; nodes],
        }
    }

    /// What several samples show of `nodes` nodes. Of independent errors the largest gain is kept: where some samples lose few
    /// bits, others lose many.
    pub fn over(samples: &[Self], nodes: usize) -> Self {
        let mut all = Self::zero(nodes);
        for one in samples {
            let pairs = all.independent.iter_mut().flatten().zip(one.independent.iter().flatten());
            pairs.for_each(|(largest, gain)| *largest = largest.max(*gain));
            let pairs = all.bent.iter_mut().flatten().zip(one.bent.iter().flatten());
            pairs.for_each(|(mean, product)| *mean += product / samples.len() as f64);
        }
        all
    }
}

/// Measure how errors travel when `sample` is evaluated. `sign` draws the signs of independent errors.
///
/// Cost: as many evaluations as half the nodes, and as many again for linear layers and sums, twice.
///
/// # Errors
/// As [`Interpreter::run`].
pub fn carried(
    interpreter: &Interpreter<'_>,
    sample: &[f64],
    mut sign: impl FnMut() -> bool,
) -> Result<Carried, ExportError> {
    let clean = interpreter.run(sample)?;
    let nodes = interpreter.graph.nodes();
    let mut found = Carried::zero(nodes.len());
    for (source, node) in nodes.iter().enumerate() {
        let here = &clean[source];
        let size = PROBE * mean_product(here, here).sqrt().max(f64::MIN_POSITIVE.sqrt());
        let signed = here.iter().map(|v| if sign() { v + size } else { v - size }).collect();
        for (reader, error) in travel(interpreter, sample, &clean, source, signed)? {
            if let Some(gain) = found.independent[reader].get_mut(source) {
                *gain = mean_product(&error, &error) / (size * size);
            }
        }
        let largest = node.range.as_ref().map_or(0.0, |r| r.max_abs());
        if largest > 0.0 && (node.op.is_linear() || node.op == Op::Add) {
            let output = |power: i32| {
                let bent = here.iter().map(|v| v + PROBE * (v / largest).powi(power)).collect();
                let last = travel(interpreter, sample, &clean, source, bent)?.pop().map(|(_, error)| error);
                Ok::<_, ExportError>(last.unwrap_or_default())
            };
            let (first, third): (Vec<f64>, Vec<f64>) = (output(1)?, output(3)?);
            let product = |a: &[f64], b: &[f64]| mean_product(a, b) / (PROBE * PROBE);
            found.bent[source] = [product(&first, &first), product(&first, &third), product(&third, &third)];
        }
    }
    Ok(found)
}

/// Nodes that see another value of node `source`, and what it changes there; the source itself first.
fn travel(
    interpreter: &Interpreter<'_>,
    sample: &[f64],
    clean: &[Vec<f64>],
    source: usize,
    value: Vec<f64>,
) -> Result<Vec<(usize, Vec<f64>)>, ExportError> {
    let nodes = interpreter.graph.nodes();
    let difference = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
    let mut errors = vec![(source, difference(&value, &clean[source]))];
    let mut values: Vec<Cow<'_, [f64]>> = clean.iter().map(|v| Cow::Borrowed(v.as_slice())).collect();
    values[source] = Cow::Owned(value);
    for (reader, node) in nodes.iter().enumerate().skip(source + 1) {
        if node.inputs.iter().any(|i| matches!(values[i.0], Cow::Owned(_))) {
            let value = interpreter.node(node, &interpreter.weights[reader], sample, &values)?;
            errors.push((reader, difference(&value, &clean[reader])));
            values[reader] = Cow::Owned(value);
        }
    }
    Ok(errors)
}

fn mean_product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / a.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GraphBuilder, Interval, RangeStats, Tensor};

    #[test]
    fn a_sum_of_what_one_error_became_is_not_averaged() {
        // x of one element, four copies of it in `wide`, their mean in `mean`: an error of `x` arrives whole, one of `wide` halved.
        let mut b = GraphBuilder::default();
        let x = b.input("x", &[1]).unwrap();
        let wide = b.linear("wide", x, Tensor::new([4, 1], vec![1.0; 4]).unwrap(), None).unwrap();
        let mean = b.linear("mean", wide, Tensor::new([1, 4], vec![0.25; 4]).unwrap(), None).unwrap();
        b.push("square", Op::Square { intervals: vec![Interval::new(-9.0, 9.0).unwrap()] }, &[mean]).unwrap();
        let mut graph = b.finish().unwrap();
        let mut range = RangeStats::empty("data");
        range.update(&[6.0, -1.0]);
        graph.set_ranges(vec![range; 4]);
        let interpreter = Interpreter::new(&graph).unwrap();
        let mut bits = (0..).map(|i: u32| (i.wrapping_mul(0x9E37_79B9) >> 16).count_ones().is_multiple_of(2));
        let mut sums = [0.0; 3];
        for _ in 0..200 {
            let Carried { independent: gains, bent } =
                carried(&interpreter, &[3.0], || bits.next().unwrap()).unwrap();
            assert!(gains[0].is_empty() && gains[3].len() == 3);
            for (sum, gain) in sums.iter_mut().zip([gains[2][0], gains[2][1], gains[3][2]]) {
                *sum += gain / 200.0;
            }
            // Half the largest value: half the error, or an eighth; the square makes six of it.
            let wanted = [9.0, 2.25, 0.5625];
            assert!(bent[2].iter().zip(wanted).all(|(b, w)| (b / w - 1.0).abs() < 1e-3), "{bent:?}");
            assert!(bent[3] == [0.0; 3]);
        }
        let close = |i: usize, wanted: f64, by: f64| (sums[i] / wanted - 1.0).abs() < by;
        assert!(close(0, 1.0, 1e-3) && close(1, 0.25, 0.3) && close(2, 36.0, 1e-3), "{sums:?}");
    }
}

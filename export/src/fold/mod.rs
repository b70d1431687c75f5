//! Turns a lowered graph into the few operations an encrypted run pays for.
//!
//! 1. [`affine`]: batch norm and input normalisation move into a neighbouring convolution or dense layer.
//! 2. [`pool`]: average pooling followed by a dense layer becomes one dense layer.
//! 3. [`products`]: batch norm and quadratics after a product of matrices move into the layer its first operand comes from.
//! 4. [`quadratic`]: `a x² + b x + c` with `a > 0` becomes `(√a·x + b/(2√a))² + (c − b²/4a)`: the inner affine map moves into the
//!    layer before, the constant is a free addition, and one pure squaring (1 level) remains.
//!
//! The function computed does not change, up to the rounding of weights to f32.

mod affine;
mod pool;
mod products;
mod quadratic;

use crate::{ExportError, Graph, GraphBuilder, NodeId, Op, Tensor};

/// Fold everything that costs levels but need not.
///
/// # Errors
/// Graph errors only: folding never changes shapes that fit.
pub fn fold(graph: &Graph) -> Result<Graph, ExportError> {
    let graph = affine::into_following(graph)?;
    let graph = affine::into_preceding(&graph)?;
    let graph = pool::into_linear(&graph)?;
    let graph = products::into_operands(&graph)?;
    quadratic::into_square(&graph)
}

/// Copies a graph node by node into a new one, with chances to change on the way.
struct Rewriter<'g> {
    old: &'g Graph,
    builder: GraphBuilder,
    map: Vec<NodeId>,
}

impl<'g> Rewriter<'g> {
    fn new(old: &'g Graph) -> Self {
        Self { old, builder: GraphBuilder::default(), map: Vec::with_capacity(old.nodes.len()) }
    }

    /// The new ids of an old node's inputs.
    fn inputs(&self, node: &crate::Node) -> Vec<NodeId> {
        node.inputs.iter().filter_map(|i| self.map.get(i.0).copied()).collect()
    }

    /// Copy a node as it is.
    fn copy(&mut self, node: &crate::Node) -> Result<(), ExportError> {
        let id = if node.op == Op::Input {
            self.builder.input(&node.name, &node.shape)?
        } else {
            for name in node.op.tensors() {
                self.builder.add_tensor(name, self.old.tensor(node, name)?.clone())?;
            }
            self.builder.push(&node.name, node.op.clone(), &self.inputs(node))?
        };
        self.map.push(id);
        Ok(())
    }

    /// Leave a node out: its readers read `instead`.
    fn skip(&mut self, instead: NodeId) {
        self.map.push(instead);
    }

    /// Emit a convolution or dense layer under the old node's name with new weights.
    fn linear(
        &mut self,
        node: &crate::Node,
        inputs: &[NodeId],
        weight: Tensor,
        bias: Option<Tensor>,
    ) -> Result<NodeId, ExportError> {
        let x = inputs.first().copied().unwrap_or(NodeId(0));
        match &node.op {
            Op::Conv2d { geometry, .. } => self.builder.conv2d(&node.name, x, weight, bias, *geometry),
            _ => self.builder.linear(&node.name, x, weight, bias),
        }
    }

    /// Emit the addition of one constant per channel.
    fn bias(&mut self, name: &str, x: NodeId, values: &[f64]) -> Result<NodeId, ExportError> {
        let shift = format!("{name}.shift");
        self.builder.add_tensor(&shift, Tensor::from_f64([values.len()], values)?)?;
        self.builder.push(name, Op::Bias { shift }, &[x])
    }

    fn finish(self) -> Result<Graph, ExportError> {
        self.builder.finish()
    }
}

/// A convolution's or dense layer's weight, in f64.
struct Weight {
    shape: Vec<usize>,
    /// The one value of all, as long as all are multiplied by the same: it takes no memory.
    same: Option<f64>,
    values: Vec<f64>,
}

impl Weight {
    /// Its values, one by one from here on.
    fn each(&mut self) -> &mut Vec<f64> {
        if let Some(value) = self.same.take() {
            self.values = vec![value; self.shape.iter().product()];
        }
        &mut self.values
    }

    /// Multiply all by one factor, if they are the same and so are the factors.
    fn scaled(&mut self, factors: &[f64]) -> bool {
        match (&mut self.same, factors) {
            (Some(value), [first, rest @ ..]) if rest.iter().all(|f| f == first) => {
                *value *= first;
                true
            }
            _ => false,
        }
    }

    fn tensor(self) -> Result<Tensor, ExportError> {
        match self.same {
            Some(value) => Ok(Tensor::constant(self.shape, value as f32)),
            None => Tensor::from_f64(self.shape, &self.values),
        }
    }
}

/// Weight and bias (zeros where there is none, `[out]` or one per output) of a convolution or dense layer, in f64.
fn weights_of(graph: &Graph, node: &crate::Node) -> Result<Option<(Weight, Vec<f64>)>, ExportError> {
    let (Op::Conv2d { weight, bias, .. } | Op::Linear { weight, bias }) = &node.op else { return Ok(None) };
    let w = graph.tensor(node, weight)?;
    let b = match bias {
        Some(b) => graph.tensor(node, b)?.to_f64(),
        None => vec![0.0; w.shape().first().copied().unwrap_or(0)],
    };
    let same = w.as_constant().map(f64::from);
    let values = if same.is_some() { Vec::new() } else { w.to_f64() };
    Ok(Some((Weight { shape: w.shape().to_vec(), same, values }, b)))
}

/// The bias tensor of a folded layer: one value per channel, or one per output position.
fn bias_tensor(node: &crate::Node, bias: &[f64]) -> Result<Tensor, ExportError> {
    let channels = node.shape.first().copied().unwrap_or(0);
    if bias.len() == channels {
        Tensor::from_f64([channels], bias)
    } else {
        Tensor::from_f64(node.shape.clone(), bias)
    }
}

/// Multiply row `c` of weight and bias by `scale[c]` and add `shift[c]`: what happens to a layer when an affine map follows it.
fn scale_rows(weight: &mut Weight, bias: &mut [f64], scale: &[f64], shift: &[f64]) {
    let rows = scale.len().max(1);
    if !weight.scaled(scale) {
        let weight = weight.each();
        let row = weight.len() / rows;
        for (row, s) in weight.chunks_exact_mut(row).zip(scale) {
            row.iter_mut().for_each(|w| *w *= s);
        }
    }
    for ((row, s), t) in bias.chunks_exact_mut(bias.len() / rows).zip(scale).zip(shift) {
        row.iter_mut().for_each(|b| *b = *b * s + t);
    }
}

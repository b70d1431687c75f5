//! A network as nodes in topological order, with named tensors.

mod builder;
mod check;
mod infer;
mod op;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use builder::{GraphBuilder, MAX_ELEMENTS, conv_out_shape};
pub use check::{Finding, Severity, check};
pub use op::{Conv2dGeometry, Op};

use crate::interp::Carried;
use crate::{ExportError, RangeStats, Tensor};

/// Index of a node; inputs always have smaller indices than their readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub usize);

/// One operation with its place in the graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Unique name, from the module path: `layer1.0.conv2`.
    pub name: String,
    /// The operation.
    pub op: Op,
    /// Nodes read, in the operation's order.
    pub inputs: Vec<NodeId>,
    /// Shape of the result per sample.
    pub shape: Vec<usize>,
    /// Values seen at the result over the calibration data.
    pub range: Option<RangeStats>,
    /// By what the variance of an error at each earlier node is multiplied on its way here, measured over calibration data
    /// ([`crate::interp::carried`]); empty where it was not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carried: Vec<f64>,
    /// What the output has of errors that grow with the value of this node, and with its third power ([`crate::interp::Carried::bent`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bent: Option<[f64; 3]>,
}

/// Nodes in topological order; the last one is the output.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

impl Graph {
    /// All nodes, inputs before readers.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Nodes with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(i, n)| (NodeId(i), n))
    }

    /// A node, if the graph has it.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0)
    }

    /// The tensors, by name.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// The tensor `name` of node `node`.
    ///
    /// # Errors
    /// [`ExportError::MissingTensor`].
    pub fn tensor(&self, node: &Node, name: &str) -> Result<&Tensor, ExportError> {
        self.tensors
            .get(name)
            .ok_or_else(|| ExportError::MissingTensor { node: node.name.clone(), tensor: name.to_string() })
    }

    /// Id of the output node.
    pub fn output(&self) -> NodeId {
        NodeId(self.nodes.len().saturating_sub(1))
    }

    /// Shape of the input sample, `[channels, height, width]` or `[features]`.
    pub fn input_shape(&self) -> &[usize] {
        self.nodes.first().map_or(&[], |n| n.shape.as_slice())
    }

    /// Shape of the output.
    pub fn output_shape(&self) -> &[usize] {
        self.nodes.last().map_or(&[], |n| n.shape.as_slice())
    }

    /// How many nodes read each node.
    pub fn reader_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.nodes.len()];
        for id in self.nodes.iter().flat_map(|n| &n.inputs) {
            if let Some(c) = counts.get_mut(id.0) {
                *c += 1;
            }
        }
        counts
    }

    /// Levels an encrypted evaluation consumes along the longest path; `None` if an operation cannot run encrypted.
    pub fn depth(&self) -> Option<usize> {
        let mut at: Vec<usize> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let before = node.inputs.iter().filter_map(|i| at.get(i.0)).max().copied().unwrap_or(0);
            at.push(before + node.op.depth()?);
        }
        at.last().copied()
    }

    /// Number of weights.
    pub fn parameters(&self) -> usize {
        self.tensors.values().map(Tensor::len).sum()
    }

    /// This graph in two: what linear layers make of the input before anything else happens to it, and the rest, whose input that is.
    /// `None` if there is no such layer, or nothing else.
    ///
    /// # Errors
    /// None for a graph that was checked when it was made.
    pub fn split_first_layers(&self) -> Result<Option<(Graph, Graph)>, ExportError> {
        let linear = self.nodes.iter().take_while(|n| n.op == Op::Input || n.op.is_linear()).count();
        // Nobody after the cut reads what is before it.
        let last_read = |cut: usize| {
            self.nodes
                .iter()
                .skip(cut + 1)
                .flat_map(|n| &n.inputs)
                .map(|i| i.0)
                .min()
                .is_none_or(|i| i >= cut)
        };
        let Some(cut) = (1..linear.min(self.nodes.len().saturating_sub(1))).rev().find(|cut| last_read(*cut))
        else {
            return Ok(None);
        };
        let part = |nodes: Vec<Node>| {
            let names: std::collections::BTreeSet<&str> = nodes.iter().flat_map(|n| n.op.tensors()).collect();
            let tensors = self.tensors.iter().filter(|(name, _)| names.contains(name.as_str()));
            let tensors = tensors.map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
            Self::from_parts(nodes.clone(), tensors)
        };
        let (first, rest) = self.nodes.split_at(cut + 1);
        let moved = |n: &Node| Node {
            inputs: n.inputs.iter().map(|i| NodeId(i.0 - cut)).collect(),
            carried: n.carried.iter().skip(cut).copied().collect(),
            ..n.clone()
        };
        let input = first.last().map(|n| Node {
            op: Op::Input,
            inputs: Vec::new(),
            carried: Vec::new(),
            ..n.clone()
        });
        Ok(Some((part(first.to_vec())?, part(input.into_iter().chain(rest.iter().map(moved)).collect())?)))
    }

    /// Set the values seen at each node, in node order.
    pub fn set_ranges(&mut self, ranges: Vec<RangeStats>) {
        for (node, range) in self.nodes.iter_mut().zip(ranges) {
            node.range = Some(range);
        }
    }

    /// Set how errors travel between the nodes; three digits are kept.
    pub fn set_carried(&mut self, carried: Carried) {
        let short = |gain: f64| format!("{gain:.2e}").parse().unwrap_or(gain);
        for (node, (gains, bent)) in
            self.nodes.iter_mut().zip(carried.independent.into_iter().zip(carried.bent))
        {
            node.carried = gains.into_iter().map(short).collect();
            node.bent = (bent != [0.0; 3]).then(|| bent.map(short));
        }
    }

    /// Rebuild a graph from its parts, checking order, names, tensors, shapes and finiteness.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn from_parts(nodes: Vec<Node>, tensors: BTreeMap<String, Tensor>) -> Result<Self, ExportError> {
        let mut builder = GraphBuilder::default();
        for (name, tensor) in &tensors {
            builder.add_tensor(name, tensor.clone())?;
        }
        let mut measured = Vec::with_capacity(nodes.len());
        for node in nodes {
            let declared = node.shape.clone();
            let id = match node.op {
                Op::Input => builder.input(&node.name, &node.shape)?,
                op => builder.push(&node.name, op, &node.inputs)?,
            };
            let shape = builder.shape(id);
            if shape != declared {
                return Err(ExportError::Shape {
                    node: node.name,
                    op: "declared shape",
                    needs: format!("{shape:?} from its inputs"),
                    got: declared,
                });
            }
            if !node.carried.is_empty() && node.carried.len() != measured.len()
                || node.carried.iter().any(|gain| !gain.is_finite() || *gain < 0.0)
                || node.bent.iter().flatten().any(|gain| !gain.is_finite())
            {
                return Err(ExportError::Invalid {
                    what: format!("`carried` of node `{}`", node.name),
                    why: format!(
                        "needs nothing or {} finite gains, one for each earlier node",
                        measured.len()
                    ),
                });
            }
            measured.push((node.range, node.carried, node.bent));
        }
        let mut graph = builder.finish()?;
        for (node, (range, carried, bent)) in graph.nodes.iter_mut().zip(measured) {
            (node.range, node.carried, node.bent) = (range, carried, bent);
        }
        Ok(graph)
    }
}

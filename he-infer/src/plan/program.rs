//! The plan's result and the run's input.

use std::borrow::Cow;
use std::sync::Arc;

use hetrain_export::{Graph, Polynomial, interp};
use serde::{Deserialize, Serialize};

use super::deviation::Deviations;
use super::layout::Layout;
use super::linear::LinearMap;
use super::noise::HEADROOM;
use super::params::Chain;
use super::refresh::Refreshing;
use super::shared::Shared;
use super::tokens::Tokens;
use crate::HeError;
use crate::ckks::Held;
use crate::math::packed;
use crate::math::poly::limb_stride;
use crate::slots::ScalarMatrix;

/// Where the factors of linear layers are between their uses: a choice of time or memory that changes no key and no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Ready to multiply.
    Residues,
    /// As packed integers, transformed where they are used.
    Coefficients,
    /// Nowhere: a layer's are encoded when its turn comes, and dropped after it. All threads are busy with the layer before
    /// until then, so that encoding ahead of time would gain nothing.
    Nowhere,
}

impl Keep {
    /// The form in which an evaluator is to hold factors.
    pub fn held(self) -> Held {
        if self == Self::Residues { Held::Residues } else { Held::Coefficients }
    }
}

/// Largest size of factors held as residues; beyond it memory is worth more than time. On the ResNet-20 (`docs/cnns.md`)
/// 9 GB become 1 GB, and an image takes 12.5 s instead of 10.7.
const MAX_RESIDUE_BYTES: u64 = 2 << 30;
/// Bits of encoded weights as integers, for estimates: the first plaintext of each layer of `resnet20_poly` and `gpt_shakespeare_poly`
/// takes 31 to 40 (44 where all weights are one constant), at scales from `2^37` to `2^50`.
const WEIGHT_BITS: usize = 37;

/// How samples lie in ciphertexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// One image or a few to a run, elements spread over slots: lowest latency.
    Image,
    /// One ciphertext per element, one image per slot (CryptoNets 2016): highest throughput.
    Batch,
}

/// What the executor does at a node.
#[derive(Clone, Debug)]
pub enum Step {
    /// Take the encrypted sample.
    Input,
    /// Rotations and plaintext products.
    Linear(LinearMap),
    /// Scalar products over whole vectors (batch layout), then one constant per vector.
    Sums {
        /// The weights.
        matrix: ScalarMatrix,
        /// One constant per output vector; empty without bias.
        bias: Vec<f64>,
    },
    /// Add known slots to every vector.
    Bias(Shared<Vec<f64>>),
    /// Add one constant to every slot of each vector (batch layout).
    BiasConst(Vec<f64>),
    /// Square every vector.
    Square,
    /// Add two nodes.
    Add,
    /// Multiply two nodes; a vector of the second serves several of the first.
    Mul,
    /// Products of queries and keys.
    Scores(Tokens),
    /// Sums of values, weighted by scores.
    Mixed {
        /// Sizes.
        tokens: Tokens,
        /// What the values of each vector of scores are multiplied with, one turn of slots; none without factors.
        factors: Vec<Vec<f64>>,
    },
    /// `c₂x² + c₁x + c₀` with known slots for each coefficient.
    Quadratic {
        /// Slots of `c₀, c₁, c₂` for each vector.
        coeffs: [Shared<Vec<f64>>; 3],
    },
    /// One polynomial for all slots.
    Polynomial {
        /// The polynomial.
        poly: Polynomial,
        /// What is added before it, where slots of no element would leave its interval; empty elsewhere.
        fill: Shared<Vec<f64>>,
    },
    /// The input under another shape.
    Alias,
}

/// A node of the graph with everything the run needs to know.
#[derive(Clone, Debug)]
pub struct PlannedNode {
    /// The graph node's name.
    pub name: String,
    /// The graph operation's name.
    pub op: &'static str,
    /// Indices of the nodes read.
    pub inputs: Vec<usize>,
    /// What to do; nodes that are alike share it.
    pub step: Arc<Step>,
    /// Level the operands are dropped to, but for [`PlannedNode::operand_level`].
    pub level_in: usize,
    /// Level of the result.
    pub level: usize,
    /// Scale of the result.
    pub scale: f64,
    /// Where the result's elements sit (image packing).
    pub layout: Layout,
    /// Largest magnitude seen on calibration data.
    pub bound: f64,
    /// Range of values seen on calibration data, or their largest magnitude where that is more: what bits count against.
    pub reach: f64,
    /// Predicted bits of precision of the worst element of one sample, relative to [`PlannedNode::reach`].
    pub bits: f64,
    pub(crate) errors: Deviations,
    /// Whether the result is bootstrapped before it is read. [`PlannedNode::level`] is that before; the scale stays.
    pub refreshed: bool,
}

impl PlannedNode {
    /// Level operand `index` is dropped to.
    #[must_use]
    pub fn operand_level(&self, index: usize) -> usize {
        let ahead = index == 1 && matches!(&*self.step, Step::Mixed { factors, .. } if !factors.is_empty());
        self.level_in + usize::from(ahead)
    }

    /// An error as bits of precision, to be compared with [`PlannedNode::bits`].
    #[must_use]
    pub fn bits_of(&self, error: f64) -> f64 {
        -(error / self.reach).log2()
    }

    /// Predicted bits of the worst element of so many samples: what the largest error found among them is as likely to
    /// exceed as not.
    #[must_use]
    pub fn bits_over(&self, samples: usize) -> f64 {
        self.bits_of(self.errors.worst(samples.max(1) * self.layout.elements()))
    }
}

/// Everything needed to run a model encrypted; made by [`plan`](super::plan).
#[derive(Clone, Debug)]
pub struct Program {
    /// The folded graph the program computes.
    pub graph: Arc<Graph>,
    /// What the client computes of a sample before, in the clear; absent where it encrypts the sample itself.
    pub client: Option<Arc<Graph>>,
    /// Ring degree and primes.
    pub chain: Chain,
    /// How samples lie in ciphertexts.
    pub packing: Packing,
    /// Nodes in topological order, as in the graph.
    pub nodes: Vec<PlannedNode>,
    /// Rotation steps with the highest level each is used at.
    pub rotations: Vec<(i32, usize)>,
    /// Highest level of a ciphertext product.
    pub relin_level: Option<usize>,
    /// How marked nodes are refreshed.
    pub refreshing: Option<Refreshing>,
    /// Where the factors of linear layers are between their uses.
    pub keep: Keep,
}

impl Program {
    /// Slots per ciphertext.
    pub fn slots(&self) -> usize {
        self.chain.slots()
    }

    /// Level and scale of a fresh input.
    pub fn input_level_scale(&self) -> (usize, f64) {
        self.nodes.first().map_or((0, 1.0), |n| (n.level, n.scale))
    }

    /// Images one run takes.
    pub fn images_per_run(&self) -> usize {
        match self.packing {
            Packing::Image => self.nodes.first().map_or(1, |n| n.layout.images()),
            Packing::Batch => self.slots(),
        }
    }

    /// Ciphertexts of one input.
    pub fn input_vectors(&self) -> usize {
        self.nodes.first().map_or(0, |n| self.vectors(n))
    }

    /// Ciphertexts of a node's result.
    pub fn vectors(&self, node: &PlannedNode) -> usize {
        match self.packing {
            Packing::Image => node.layout.vectors(),
            Packing::Batch => node.layout.elements(),
        }
    }

    /// Bootstraps in one run.
    pub fn bootstraps(&self) -> usize {
        self.nodes.iter().filter(|n| n.refreshed).map(|n| self.vectors(n)).sum()
    }

    /// Hold the factors of linear layers as residues, unless those would take gigabytes.
    pub(super) fn choose_keep(&mut self) {
        self.keep = Keep::Residues;
        if self.nodes.iter().map(|n| self.factor_bytes(n)).sum::<u64>() > MAX_RESIDUE_BYTES {
            self.keep = Keep::Coefficients;
        }
    }

    /// Take less memory and more time; `false` if there is no way left.
    pub fn shrink(&mut self) -> bool {
        let smaller = match self.keep {
            Keep::Residues => Keep::Coefficients,
            Keep::Coefficients => Keep::Nowhere,
            Keep::Nowhere => return false,
        };
        self.keep = smaller;
        true
    }

    /// Bytes of what a node multiplies with and adds; what repeats is held once.
    pub(super) fn weight_bytes(&self, node: &PlannedNode) -> u64 {
        let plain = |count: usize, level: usize| {
            (count * (level + 1) * 8 * limb_stride(2 * self.chain.slots())) as u64
        };
        let known = match &*node.step {
            Step::Linear(map) => plain(map.bias.distinct(), node.level),
            Step::Bias(values) => plain(values.distinct(), node.level),
            Step::Polynomial { fill, .. } => plain(fill.distinct(), node.level_in),
            Step::Quadratic { coeffs: [c0, c1, c2] } => {
                let low = node.level_in.saturating_sub(1);
                plain(c0.distinct(), node.level) + plain(c1.distinct() + c2.distinct(), low)
            }
            Step::Sums { matrix, .. } => 16 * matrix.rows.iter().map(|r| r.len() as u64).sum::<u64>(),
            _ => 0,
        };
        self.factor_bytes(node) + known
    }

    /// Bytes of a node's factors.
    fn factor_bytes(&self, node: &PlannedNode) -> u64 {
        let (products, period, level) = match &*node.step {
            Step::Linear(map) => (map.products(), map.period, node.level_in),
            Step::Mixed { factors, .. } => {
                (factors.len(), factors.first().map_or(1, Vec::len), node.level_in + 1)
            }
            _ => return 0,
        };
        let words = match self.keep {
            Keep::Residues => (level + 1) * limb_stride(2 * period),
            Keep::Coefficients | Keep::Nowhere => packed::words((2 * period).max(64), WEIGHT_BITS),
        };
        8 * (products * words) as u64
    }

    /// Level at which a node's result is read, after a bootstrap if there is one.
    pub fn level_read(&self, node: &PlannedNode) -> usize {
        match &self.refreshing {
            Some(refreshing) if node.refreshed => refreshing.cost.output_level,
            _ => node.level,
        }
    }

    /// Slots of the input ciphertexts for some images: one of them, or up to a batch.
    ///
    /// # Errors
    /// [`HeError::BatchSize`], [`HeError::InputSize`], [`HeError::NotFinite`], [`HeError::TooLarge`].
    pub fn pack(&self, images: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, HeError> {
        let max = self.images_per_run();
        if images.is_empty() || images.len() > max {
            return Err(HeError::BatchSize { max, got: images.len() });
        }
        let shape = self.client.as_ref().unwrap_or(&self.graph).input_shape();
        let need: usize = shape.iter().product();
        for image in images {
            if image.len() != need {
                return Err(HeError::InputSize { need, shape: shape.to_vec(), got: image.len() });
            }
            if let Some((index, &value)) = image.iter().enumerate().find(|(_, v)| !v.is_finite()) {
                return Err(HeError::NotFinite { index, value });
            }
        }
        let embedded = match &self.client {
            Some(client) => {
                let client = interp::Interpreter::new(client)?;
                Cow::Owned(images.iter().map(|image| client.logits(image)).collect::<Result<Vec<_>, _>>()?)
            }
            None => Cow::Borrowed(images),
        };
        for image in embedded.iter() {
            let limit = HEADROOM * self.nodes.first().map_or(f64::INFINITY, |n| n.bound);
            if let Some((index, &value)) = image.iter().enumerate().find(|(_, v)| v.abs() > limit) {
                return Err(HeError::TooLarge { index, value, limit });
            }
        }
        Ok(match (self.packing, self.nodes.first()) {
            (Packing::Image, Some(input)) => input.layout.pack(&embedded),
            _ => (0..self.graph.input_shape().iter().product())
                .map(|e| embedded.iter().filter_map(|i| i.get(e).copied()).collect())
                .collect(),
        })
    }

    /// Element values of node `index` for `images` images from the slots of its vectors.
    pub fn unpack(&self, index: usize, vectors: &[Vec<f64>], images: usize) -> Vec<Vec<f64>> {
        match (self.packing, self.nodes.get(index)) {
            (Packing::Image, Some(node)) => (0..images).map(|i| node.layout.unpack(vectors, i)).collect(),
            _ => (0..images)
                .map(|i| vectors.iter().map(|v| v.get(i).copied().unwrap_or(f64::NAN)).collect())
                .collect(),
        }
    }

    /// Predicted bits of the logits, relative to their range.
    pub fn predicted_bits(&self) -> f64 {
        self.nodes.last().map_or(0.0, |n| n.bits)
    }
}

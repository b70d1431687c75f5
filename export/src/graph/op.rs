//! The closed list of operations a graph may hold.

use serde::{Deserialize, Serialize};

use crate::{Interval, Polynomial};

/// How a convolution walks over its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2dGeometry {
    /// Steps in y and x.
    pub stride: [usize; 2],
    /// Zeros added on both sides in y and x.
    pub padding: [usize; 2],
    /// Distance of kernel taps in y and x.
    pub dilation: [usize; 2],
    /// Channel groups.
    pub groups: usize,
}

impl Conv2dGeometry {
    /// Stride and padding equal in both directions, no dilation, one group.
    pub fn new(stride: usize, padding: usize) -> Self {
        Self { stride: [stride; 2], padding: [padding; 2], dilation: [1; 2], groups: 1 }
    }
}

/// What a node computes. Shapes are per sample: `[channels, height, width]` or `[features]`; tensors are named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// The sample, pixels divided by the white level (so in `[0, 1]`).
    Input,
    /// `weight [out, in/groups, kh, kw]`, `bias [out]` or, after folding, one value per output `[out, h, w]`.
    Conv2d {
        /// Name of the kernel tensor.
        weight: String,
        /// Name of the bias tensor.
        bias: Option<String>,
        /// Stride, padding, dilation, groups.
        geometry: Conv2dGeometry,
    },
    /// `weight [out, in]`, `bias [out]`, on a flat input.
    Linear {
        /// Name of the matrix.
        weight: String,
        /// Name of the bias.
        bias: Option<String>,
    },
    /// `y = scale·x + shift` per channel: batch norm at inference, or the input normalisation.
    Affine {
        /// Name of the per-channel factor.
        scale: String,
        /// Name of the per-channel summand.
        shift: String,
    },
    /// Adds a constant per channel, or per element (`[c, h, w]`: embeddings of positions); free under encryption.
    Bias {
        /// Name of the summand.
        shift: String,
    },
    /// Mean over windows.
    AvgPool {
        /// Window height and width.
        kernel: [usize; 2],
        /// Steps.
        stride: [usize; 2],
    },
    /// `[c, h, w]` to `[c·h·w]`, channel-major; free under encryption.
    Flatten,
    /// `[c, h, w]` with other axes first: axis `i` of the result is axis `axes[i]` of the input; free under encryption.
    Transpose {
        /// A permutation of 0, 1, 2.
        axes: [usize; 3],
    },
    /// The same values in the same order under another shape; free under encryption.
    Reshape {
        /// The shape.
        shape: Vec<usize>,
    },
    /// Keeps the elements `(y, x)` with `x ≤ y` of every channel and puts zero for the others: what a position may look
    /// at. Free under encryption, where products with the others are never taken.
    Causal,
    /// `[c, h, w]` to `[c, 1, w]`: one of the rows; free under encryption.
    Row {
        /// Which, from 0.
        row: usize,
    },
    /// `[c, h, w]` to `[c, h, 1]`: the sum along each row, weighted by `weight`, `[h, w]` or `[c, h, w]`.
    RowSum {
        /// Name of the weights.
        weight: String,
    },
    /// Sum of two inputs of one shape.
    Add,
    /// Product of two inputs, element by element; where the second has extent 1, its value serves the whole axis.
    Mul,
    /// Product of two matrices in every channel: `[c, m, k]` times `[c, k, n]` is `[c, m, n]`.
    MatMul {
        /// Whether only elements `(y, x)` with `x ≤ y` are computed, and zero stands for the others.
        causal: bool,
        /// Name of factors `[c, m, k]` of the first input's elements. Encrypted it is the second input that is multiplied with them, one
        /// level above the product.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        factors: Option<String>,
    },
    /// Squared distances of the rows of the first input from the columns of the second, in every channel: `[c, m, k]` and `[c, k, n]`
    /// give `[c, m, n]`.
    Distance {
        /// As in [`Op::MatMul`].
        causal: bool,
    },
    /// `c₀ + c₁x + c₂x²` with coefficients `[channels, 3]`, valid per channel on `intervals` (one, or one per channel).
    Quadratic {
        /// Name of the coefficient tensor.
        coeffs: String,
        /// Where each channel's parabola was trained.
        intervals: Vec<Interval>,
    },
    /// `x²`: what a quadratic becomes after folding. One level, no plaintext.
    Square {
        /// Where the squared value was trained to stay (one, or one per channel).
        intervals: Vec<Interval>,
    },
    /// One polynomial for all elements.
    Polynomial {
        /// The polynomial with its interval.
        poly: Polynomial,
    },
    /// `max(x, 0)`: known so that `check` can name it; cannot run encrypted.
    Relu,
    /// Maximum over windows: known so that `check` can name it; cannot run encrypted.
    MaxPool {
        /// Window height and width.
        kernel: [usize; 2],
        /// Steps.
        stride: [usize; 2],
    },
}

impl Op {
    /// Every operation's name in files and messages.
    pub const NAMES: [&'static str; 21] = [
        "input",
        "conv2d",
        "linear",
        "affine",
        "bias",
        "avg_pool",
        "flatten",
        "transpose",
        "reshape",
        "causal",
        "row",
        "row_sum",
        "add",
        "mul",
        "mat_mul",
        "distance",
        "quadratic",
        "square",
        "polynomial",
        "relu",
        "max_pool",
    ];

    /// The operation's name in files and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Conv2d { .. } => "conv2d",
            Op::Linear { .. } => "linear",
            Op::Affine { .. } => "affine",
            Op::Bias { .. } => "bias",
            Op::AvgPool { .. } => "avg_pool",
            Op::Flatten => "flatten",
            Op::Transpose { .. } => "transpose",
            Op::Reshape { .. } => "reshape",
            Op::Causal => "causal",
            Op::Row { .. } => "row",
            Op::RowSum { .. } => "row_sum",
            Op::Add => "add",
            Op::Mul => "mul",
            Op::MatMul { .. } => "mat_mul",
            Op::Distance { .. } => "distance",
            Op::Quadratic { .. } => "quadratic",
            Op::Square { .. } => "square",
            Op::Polynomial { .. } => "polynomial",
            Op::Relu => "relu",
            Op::MaxPool { .. } => "max_pool",
        }
    }

    /// How many inputs the operation reads.
    pub fn arity(&self) -> usize {
        match self {
            Op::Input => 0,
            Op::Add | Op::Mul | Op::MatMul { .. } | Op::Distance { .. } => 2,
            _ => 1,
        }
    }

    /// Levels an encrypted evaluation consumes; `None` where there is none.
    pub fn depth(&self) -> Option<usize> {
        match self {
            Op::Input
            | Op::Bias { .. }
            | Op::Flatten
            | Op::Transpose { .. }
            | Op::Reshape { .. }
            | Op::Causal
            | Op::Row { .. }
            | Op::Add => Some(0),
            Op::Conv2d { .. }
            | Op::Linear { .. }
            | Op::Affine { .. }
            | Op::AvgPool { .. }
            | Op::RowSum { .. }
            | Op::Mul
            | Op::MatMul { .. }
            | Op::Distance { .. }
            | Op::Square { .. } => Some(1),
            Op::Quadratic { .. } => Some(2),
            Op::Polynomial { poly } => Some(poly.depth()),
            Op::Relu | Op::MaxPool { .. } => None,
        }
    }

    /// Levels by which input `index` must lie above the others.
    pub fn ahead(&self, index: usize) -> usize {
        usize::from(index == 1 && matches!(self, Op::MatMul { factors: Some(_), .. }))
    }

    /// Whether the operation only says where values are, and computes nothing.
    pub fn only_names(&self) -> bool {
        matches!(self, Op::Flatten | Op::Transpose { .. } | Op::Reshape { .. } | Op::Causal | Op::Row { .. })
    }

    /// Whether the operation is linear (or affine) in its input.
    pub fn is_linear(&self) -> bool {
        matches!(
            self,
            Op::Conv2d { .. }
                | Op::Linear { .. }
                | Op::Affine { .. }
                | Op::AvgPool { .. }
                | Op::RowSum { .. }
                | Op::Bias { .. }
        ) || self.only_names()
    }

    /// Names of the tensors the operation reads.
    pub fn tensors(&self) -> Vec<&str> {
        match self {
            Op::Conv2d { weight, bias, .. } | Op::Linear { weight, bias } => {
                std::iter::once(weight.as_str()).chain(bias.as_deref()).collect()
            }
            Op::Affine { scale, shift } => vec![scale, shift],
            Op::Bias { shift } => vec![shift],
            Op::RowSum { weight } => vec![weight],
            Op::MatMul { factors, .. } => factors.iter().map(String::as_str).collect(),
            Op::Quadratic { coeffs, .. } => vec![coeffs],
            _ => Vec::new(),
        }
    }

    /// The operation without the names of its tensors: what two operations with the same tensors differ in.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        let mut op = self.clone();
        match &mut op {
            Op::Conv2d { weight, bias, .. } | Op::Linear { weight, bias } => {
                weight.clear();
                bias.iter_mut().for_each(String::clear);
            }
            Op::Affine { scale, shift } => {
                scale.clear();
                shift.clear();
            }
            Op::Bias { shift: name } | Op::RowSum { weight: name } | Op::Quadratic { coeffs: name, .. } => {
                name.clear();
            }
            Op::MatMul { factors, .. } => factors.iter_mut().for_each(String::clear),
            _ => {}
        }
        op
    }

    /// Intervals on the *input* of the operation, where it has any.
    pub fn intervals(&self) -> Vec<Interval> {
        match self {
            Op::Quadratic { intervals, .. } | Op::Square { intervals } => intervals.clone(),
            Op::Polynomial { poly } => vec![poly.interval()],
            _ => Vec::new(),
        }
    }
}

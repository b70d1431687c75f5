//! What attention knows about where a key stands, seen from its query.
//!
//! Softmax has it as a summand of scores (Raffel et al. 2020, arXiv:1910.10683), which is a factor of weights: `e^(s + b) = e^b·eˢ`. The
//! forms in the place of softmax keep the factor, and with it what quadratics are worst at, telling near from far. Encrypted it costs
//! no level: keys wait for weights, so values are multiplied with it instead (see `he-infer`'s plan of attention).

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData};

use crate::WeightInit;

/// Logarithms of factors, of the offset between two positions of a map and, for forms that do not divide by the sum of their
/// weights, of the query's position.
#[derive(Module, Debug)]
pub struct Relative {
    /// By offset, `[heads, (2·height − 1)·(2·width − 1)]`.
    pub offsets: Param<Tensor<2>>,
    /// By query, `[heads, positions]`; softmax has no use for it.
    pub queries: Param<Tensor<2>>,
    #[module(skip)]
    shape: [usize; 2],
    #[module(skip)]
    causal: bool,
}

impl Relative {
    /// No preference, for a map of `[height, width]`.
    pub(super) fn new(heads: usize, shape: [usize; 2], causal: bool, init: &WeightInit) -> Self {
        let [height, width] = shape;
        let zeros = |columns: usize| Param::from_tensor(Tensor::zeros([heads, columns], init.device()));
        let offsets = zeros((2 * height - 1) * (2 * width - 1));
        Self { offsets, queries: zeros(height * width), shape, causal }
    }

    /// Whether a position sees only itself and those before it.
    pub(super) fn is_causal(&self) -> bool {
        self.causal
    }

    fn positions(&self) -> usize {
        self.shape.iter().product()
    }

    /// Summands of a softmax's scores, `[1, heads, positions, positions]`: query, key.
    pub(super) fn bias(&self) -> Tensor<4> {
        let (positions, [height, width]) = (self.positions(), self.shape);
        let offset = |pair: usize| {
            let (query, key) = (pair / positions, pair % positions);
            let row = query / width + height - 1 - key / width;
            let column = query % width + width - 1 - key % width;
            (row * (2 * width - 1) + column) as i64
        };
        let index: Vec<i64> = (0..positions * positions).map(offset).collect();
        let offsets = self.offsets.val();
        let index =
            Tensor::<1, Int>::from_data(TensorData::new(index, [positions * positions]), &offsets.device());
        let [heads, _] = offsets.dims();
        offsets.select(1, index).reshape([1, heads, positions, positions])
    }

    /// How many positions each looks at, `[1, 1, positions, 1]`.
    pub(super) fn counts(&self) -> Tensor<4> {
        let positions = self.positions();
        let count = |y: usize| if self.causal { y + 1 } else { positions } as f32;
        let counts: Vec<f32> = (0..positions).map(count).collect();
        Tensor::from_data(TensorData::new(counts, [1, 1, positions, 1]), &self.offsets.val().device())
    }

    /// Factors of the weights of softmax's successors; `divided`: of those that divide by sums of theirs.
    pub(super) fn factors(&self, divided: bool) -> Tensor<4> {
        let positions = self.positions();
        let log = match divided {
            true => self.bias(),
            false => {
                let queries = self.queries.val();
                let [heads, _] = queries.dims();
                self.bias() + queries.reshape([1, heads, positions, 1])
            }
        };
        let factors = log.exp();
        let factors = if divided { factors } else { factors / self.counts().sqrt() };
        match self.mask() {
            Some(mask) => factors * mask,
            None => factors,
        }
    }

    /// 1 where a position may look, `[1, 1, positions, positions]`; none if everywhere.
    pub(super) fn mask(&self) -> Option<Tensor<4>> {
        let positions = self.positions();
        let device = self.offsets.val().device();
        self.causal.then(|| Tensor::<2>::ones([positions; 2], &device).tril(0).unsqueeze())
    }
}

//! Average pooling.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::AvgPoolOptions;
use hetrain_export::{GraphBuilder, NodeId};

use crate::models::{Flow, Stage, Tap};
use crate::{LayerError, Lower};

/// Mean over disjoint square windows.
#[derive(Module, Debug)]
pub struct AvgPool {
    /// Side of the window, and the step.
    pub kernel: usize,
    /// Levels it costs: none where a dense layer follows, which takes the mean over when the graph is folded.
    pub levels: usize,
}

impl AvgPool {
    /// Windows of `kernel` by `kernel`, before a dense layer.
    pub fn new(kernel: usize) -> Self {
        Self { kernel, levels: 0 }
    }

    /// Windows of `kernel` by `kernel`, before anything else.
    pub fn between(kernel: usize) -> Self {
        Self { kernel, levels: 1 }
    }

    /// Average.
    ///
    /// # Shapes
    /// - input `[batch, channels, height, width]`, output `[batch, channels, height/k, width/k]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        avg_pool2d(x, AvgPoolOptions::new([self.kernel; 2]))
    }
}

impl Lower for AvgPool {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        Ok(graph.avg_pool(name, x, [self.kernel; 2], [self.kernel; 2])?)
    }

    fn depth(&self) -> usize {
        self.levels
    }
}

impl Stage for AvgPool {
    fn forward(&self, x: Flow, _tap: &mut Tap) -> Flow {
        Flow::Map(self.forward(x.map()))
    }
}

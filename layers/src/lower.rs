//! From a module to graph nodes.

use burn::module::Param;
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId};

use crate::LayerError;
use crate::init::sketched;

/// A module that can describe itself as graph nodes.
pub trait Lower {
    /// Append the module's nodes, named from `name`, reading node `x`; the id of the last one.
    ///
    /// # Errors
    /// Shapes that do not fit, weights that are not finite, activations that are half replaced.
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError>;

    /// Levels an encrypted evaluation of the folded module consumes.
    fn depth(&self) -> usize;
}

/// Values of a tensor on the host, row-major.
pub(crate) fn to_host<const D: usize>(name: &str, tensor: Tensor<D>) -> Result<Vec<f32>, LayerError> {
    tensor
        .into_data()
        .convert::<f32>()
        .try_into_vec::<f32>()
        .map_err(|e| LayerError::Device { name: name.into(), why: format!("{e:?}") })
}

/// A parameter as a tensor of the graph.
pub(crate) fn to_graph<const D: usize>(
    name: &str,
    tensor: Tensor<D>,
) -> Result<hetrain_export::Tensor, LayerError> {
    let shape = tensor.dims();
    Ok(hetrain_export::Tensor::new(shape, to_host(name, tensor)?)?)
}

/// Shape and common value of weights nobody has asked for yet.
pub(crate) fn sketch<const D: usize>(
    weight: &Param<Tensor<D>>,
    fan_in: impl Fn([usize; D]) -> usize,
) -> Option<([usize; D], f32)> {
    let shape = (!weight.is_initialized()).then(|| weight.lazy_shape().dims::<D>())?;
    Some((shape, sketched(fan_in(shape))))
}

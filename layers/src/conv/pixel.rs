//! The convolution whose kernel is one pixel, which is what dense layers of transformers are, as products of matrices.

use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{Shape, TensorData};
use rayon::prelude::*;

use super::op::Host;

/// A kernel of one pixel: for each image a product of matrices, `[out, in]` and `[in, pixels]`, which are read where they are. (Rows of pixels of all
/// images are one product, but to get them the batch is transposed, there and back, which takes longer than the product does.)
pub(super) struct OnePixel {
    /// `[1, out, in]`.
    weight: FlexTensor,
    /// Images, channels they come with, channels they leave with.
    shape: [usize; 3],
    side: [usize; 2],
}

impl OnePixel {
    pub(super) fn new(x: [usize; 4], weight: &FlexTensor, stride: usize, padding: usize) -> Option<Self> {
        let ([n, _, h, w], [co, ci, kh, kw]) = (x, weight.shape().dims::<4>());
        ([kh, kw, stride, padding] == [1, 1, 1, 0]).then(|| Self {
            weight: Flex::float_reshape(weight.clone(), Shape::new([1, co, ci])),
            shape: [n, ci, co],
            side: [h, w],
        })
    }

    /// Images as matrices of channels and pixels.
    fn matrices(&self, images: FlexTensor, channels: usize) -> FlexTensor {
        let [n, ..] = self.shape;
        Flex::float_reshape(images, Shape::new([n, channels, self.side.iter().product()]))
    }

    fn images(&self, matrices: FlexTensor, channels: usize) -> FlexTensor {
        let ([n, ..], [h, w]) = (self.shape, self.side);
        Flex::float_reshape(matrices, Shape::new([n, channels, h, w]))
    }

    pub(super) fn forward(self, x: FlexTensor) -> FlexTensor {
        let [_, ci, co] = self.shape;
        let y = Flex::float_matmul(self.weight.clone(), self.matrices(x, ci));
        self.images(y, co)
    }

    pub(super) fn backward_x(self, grad: FlexTensor) -> FlexTensor {
        let [_, ci, co] = self.shape;
        let by_x =
            Flex::float_matmul(Flex::float_swap_dims(self.weight.clone(), 1, 2), self.matrices(grad, co));
        self.images(by_x, ci)
    }

    /// One product over the pixels of all images, whose channels are brought together first: adding up a product for each image takes longer.
    pub(super) fn backward_weight(self, x: FlexTensor, grad: FlexTensor) -> Option<FlexTensor> {
        let [_, ci, co] = self.shape;
        let (grad, x) = (self.by_channel(grad, co)?, self.by_channel(x, ci)?);
        let by_weight = Flex::float_matmul(grad, Flex::float_swap_dims(x, 0, 1));
        Some(Flex::float_reshape(by_weight, Shape::new([co, ci, 1, 1])))
    }

    /// `[channels, images × pixels]`; `None` where values are not of single precision.
    fn by_channel(&self, images: FlexTensor, channels: usize) -> Option<FlexTensor> {
        let [n, ..] = self.shape;
        let pixels = self.side.iter().product::<usize>().max(1);
        let images = Host::new(images);
        let values = images.values()?;
        let mut rows = vec![0f32; values.len()];
        rows.par_chunks_mut((n * pixels).max(1)).enumerate().for_each(|(channel, row)| {
            let of_channel = values.chunks(pixels).skip(channel).step_by(channels);
            row.chunks_mut(pixels).zip(of_channel).for_each(|(to, from)| to.copy_from_slice(from));
        });
        Some(FlexTensor::from_data(TensorData::new(rows, [channels, n * pixels])))
    }
}

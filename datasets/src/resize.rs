//! Images of another size, or without colour.

use image::{DynamicImage, GrayImage, RgbImage};

use crate::{
    DataError, ImageSet,
    config::setting,
    decode::{fill_all, planes},
};

/// The images of `set` with `size` and `channels`, where they are given; see [`planes`].
pub(crate) fn resize(
    set: &ImageSet,
    size: Option<[usize; 2]>,
    channels: Option<usize>,
) -> Result<ImageSet, DataError> {
    let [found_channels, found_height, found_width] = set.shape;
    let [height, width] = size.unwrap_or([found_height, found_width]);
    let shape = [channels.unwrap_or(found_channels), height, width];
    let n = shape.iter().product();
    let images: Vec<&[u8]> = set.pixels.chunks_exact(set.sample_len().max(1)).collect();
    let mut pixels = Vec::new();
    let bytes = images.len().saturating_mul(n);
    if pixels.try_reserve_exact(bytes).is_err() {
        let found = format!("{} images of {n} values, {:.0} GB", images.len(), bytes as f64 / 1e9);
        return setting("size", "images that fit into memory", found);
    }
    pixels.resize(bytes, 0);
    fill_all(&images, n, &mut pixels, |pixels, out| {
        if let Some(image) = picture(pixels, set.shape) {
            planes(&image, shape, out);
        }
        Ok(())
    })?;
    Ok(ImageSet { shape, pixels, labels: set.labels.clone(), ..set.like() })
}

/// Planes as an image; none unless there are one or three of the size.
fn picture(pixels: &[u8], [channels, height, width]: [usize; 3]) -> Option<DynamicImage> {
    let (w, h) = (width as u32, height as u32);
    if channels == 1 {
        return GrayImage::from_raw(w, h, pixels.to_vec()).map(DynamicImage::from);
    }
    let area = height * width;
    let interleaved =
        (0..area).flat_map(|at| (0..3).map(move |c| pixels.get(c * area + at).copied().unwrap_or_default()));
    RgbImage::from_raw(w, h, interleaved.collect()).map(DynamicImage::from)
}

//! PNG and JPEG bytes → channel planes, many at a time.

use std::{num::NonZero, path::Path, thread};

use image::{DynamicImage, imageops::FilterType};

use crate::DataError;

/// Write an image as planes `[channels, height, width]` into `out`, resized first if it differs.
///
/// One channel is luma, three are red, green, blue; transparency is dropped.
pub(crate) fn planes(image: &DynamicImage, shape: [usize; 3], out: &mut [u8]) {
    let [channels, height, width] = shape;
    let (w, h) = (width as u32, height as u32);
    let resized;
    let image = if (image.width(), image.height()) == (w, h) {
        image
    } else {
        // Triangle averages over the covered area when shrinking, so nothing aliases.
        resized = image.resize_exact(w, h, FilterType::Triangle);
        &resized
    };
    if channels == 1 {
        out.copy_from_slice(image.to_luma8().as_raw());
    } else {
        let rgb = image.to_rgb8();
        for (c, plane) in out.chunks_exact_mut(height * width).enumerate() {
            for (value, pixel) in plane.iter_mut().zip(rgb.as_raw().chunks_exact(3)) {
                *value = pixel.get(c).copied().unwrap_or_default();
            }
        }
    }
}

/// Decode an image held in memory; `path` is for the message.
pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<DynamicImage, DataError> {
    image::load_from_memory(bytes).map_err(|source| DataError::Decode { path: path.to_path_buf(), source })
}

/// Fill `out`, `n` values per item, by `fill(item, values)` on all processors.
///
/// The first error in item order is returned, whichever thread meets it, so messages do not depend
/// on timing.
pub(crate) fn fill_all<T: Sync>(
    items: &[T],
    n: usize,
    out: &mut [u8],
    fill: impl Fn(&T, &mut [u8]) -> Result<(), DataError> + Sync,
) -> Result<(), DataError> {
    if items.is_empty() || n == 0 {
        return Ok(());
    }
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(items.len());
    let share = items.len().div_ceil(threads);
    let fill = &fill;
    thread::scope(|scope| {
        let workers: Vec<_> = items
            .chunks(share)
            .zip(out.chunks_mut(share * n))
            .map(|(items, out)| {
                scope.spawn(move || {
                    items
                        .iter()
                        .zip(out.chunks_exact_mut(n))
                        .try_for_each(|(item, values)| fill(item, values))
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

#[cfg(test)]
mod tests {
    use image::{RgbImage, Rgba, RgbaImage};

    use super::*;

    #[test]
    fn colour_becomes_planes_and_grey_becomes_luma() {
        let image = RgbImage::from_fn(2, 1, |x, _| image::Rgb([10 + x as u8, 20, 30]));
        let mut out = [0; 6];
        planes(&image.clone().into(), [3, 1, 2], &mut out);
        assert_eq!(out, [10, 11, 20, 20, 30, 30]);
        let mut grey = [0; 2];
        planes(&image.into(), [1, 1, 2], &mut grey);
        assert!(grey.iter().all(|g| (17..=20).contains(g)), "{grey:?}");
    }

    #[test]
    fn transparency_is_dropped_and_sizes_are_matched() {
        let image = RgbaImage::from_pixel(4, 6, Rgba([9, 9, 9, 0]));
        let mut out = [0; 6];
        planes(&image.into(), [1, 3, 2], &mut out);
        assert_eq!(out, [9; 6]);
    }

    #[test]
    fn the_first_error_in_order_wins() {
        let items: Vec<usize> = (0..100).collect();
        let mut out = vec![0; 200];
        let fill = |&i: &usize, values: &mut [u8]| {
            values.fill(i as u8);
            if i % 40 == 30 { Err(DataError::Sample { index: i, len: 0 }) } else { Ok(()) }
        };
        let error = fill_all(&items, 2, &mut out, fill).unwrap_err();
        assert!(matches!(error, DataError::Sample { index: 30, .. }));
        fill_all(&items, 2, &mut out, |&i, v| {
            v.fill(i as u8);
            Ok(())
        })
        .unwrap();
        assert_eq!(out[198..], [99, 99]);
        assert_eq!(out[50], 25);
    }
}

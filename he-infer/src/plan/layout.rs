//! Which tensor element sits in which slot of which vector.
//!
//! Images use the multiplexed layout of Lee et al. 2022 (ICML, "Low-complexity deep convolutional neural networks on fully
//! homomorphic encryption"): a strided layer leaves gaps between pixels, and the gaps hold further channels. With gap
//! `(gy, gx)` and extent `(H, W)`, channel `ch = gy·gx·u + gx·ρ + σ` of pixel `(y, x)` sits in
//!
//! ```text
//! slot = pitch·u + W·(gy·y + ρ) + gx·x + σ        pitch = H·W rounded up to a power of two
//! ```
//!
//! so that density survives striding, and a power-of-two pitch lets block rotations wrap around. Contents repeat with
//! `period` (a power of two) until the vector is full; slots of no element hold zero.
//!
//! Instead of repeating, several images can share a vector: interleaved, image `b` of `B` in slots `B·slot + b` of the layout
//! for `slots / B` slots, so that every rotation still wraps around within each image ([`Layout::interleaved`]).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Where pixels of an image sit inside a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// Distance of neighbouring pixels in y and x.
    pub gap: [usize; 2],
    /// Height and width of a block.
    pub extent: [usize; 2],
}

/// Positions of all elements of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    slots: usize,
    period: usize,
    vectors: usize,
    images: usize,
    grid: Option<Grid>,
    positions: Arc<[usize]>,
    more: Arc<[Vec<usize>]>,
}

/// Position of an element that is known to be zero and lies nowhere.
pub(super) const NOWHERE: usize = usize::MAX;

impl Layout {
    /// Elements one after the other, `slots` to a vector.
    pub fn raster(elements: usize, slots: usize) -> Self {
        let period = elements.next_power_of_two().min(slots);
        let positions = (0..elements).collect();
        let vectors = elements.div_ceil(slots).max(1);
        Self { slots, period, vectors, images: 1, grid: None, positions, more: Arc::default() }
    }

    /// Elements at `places`, each at one or more of them, as `vector·slots + slot`; an element without a place is zero.
    pub(super) fn scattered(places: &[Vec<usize>], period: usize, vectors: usize, slots: usize) -> Self {
        let first = |p: &Vec<usize>| p.first().copied().unwrap_or(NOWHERE);
        let positions = places.iter().map(first).collect();
        let more = match places.iter().any(|p| p.len() > 1) {
            true => places.iter().map(|p| p.iter().skip(1).copied().collect()).collect(),
            false => Arc::default(),
        };
        Self { slots, period, vectors, images: 1, grid: None, positions, more }
    }

    /// The layout of a tensor whose element `e` is element `sources[e]` of this one; [`NOWHERE`] for one that is zero.
    pub(super) fn renamed(&self, sources: impl Iterator<Item = usize>) -> Self {
        let places = |e: usize| if e == NOWHERE { Vec::new() } else { self.places(e).collect() };
        let places: Vec<Vec<usize>> = sources.map(places).collect();
        Self { images: self.images, ..Self::scattered(&places, self.period, self.vectors, self.slots) }
    }

    /// Every place of an element within a period, as [`Layout::positions`] gives the first.
    pub(super) fn places(&self, element: usize) -> impl Iterator<Item = usize> {
        let first = self.positions.get(element).copied().filter(|p| *p != NOWHERE);
        first.into_iter().chain(self.more.get(element).into_iter().flatten().copied())
    }

    /// Where the pixels of a channel lie, in slots from its first on, if that is the same for all channels of `pixels` elements and all
    /// places of an element, or the first only.
    pub(super) fn pixels(&self, pixels: usize, first_only: bool) -> Option<Vec<u32>> {
        let take = if first_only { 1 } else { usize::MAX };
        let first = self.places(0).next()?;
        let away = |e: usize| self.places(e).next()?.checked_sub(first).and_then(|d| u32::try_from(d).ok());
        let found: Vec<u32> = (0..pixels).map(away).collect::<Option<_>>()?;
        let fits = |e: usize, distance: &u32| {
            let (own, channel) = (self.places(e).take(take), self.places(e / pixels * pixels).take(take));
            let vector = |p: usize| p / self.slots;
            own.map(|p| (p, vector(p))).eq(channel.map(|p| (p + *distance as usize, vector(p))))
        };
        let all = self.elements().is_multiple_of(pixels)
            && (0..self.elements()).zip(found.iter().cycle()).all(|(e, distance)| fits(e, distance));
        all.then_some(found)
    }

    /// The multiplexed layout of a `[channels, height, width]` tensor; a raster where one block does not fit a vector.
    pub fn multiplexed([c, h, w]: [usize; 3], grid: Grid, slots: usize) -> Self {
        let Grid { gap: [gy, gx], extent: [he, we] } = grid;
        let pitch = he.checked_mul(we).and_then(usize::checked_next_power_of_two);
        let Some(pitch) = pitch.filter(|pitch| *pitch <= slots) else {
            return Self::raster(c * h * w, slots);
        };
        let blocks = c.div_ceil(gy * gx);
        let positions = (0..c * h * w)
            .map(|e| {
                let (ch, y, x) = (e / (h * w), e / w % h, e % w);
                let (u, rho, sigma) = (ch / (gy * gx), ch / gx % gy, ch % gx);
                pitch * u + we * (gy * y + rho) + gx * x + sigma
            })
            .collect();
        let period = (pitch * blocks.next_power_of_two()).min(slots);
        let vectors = (pitch * blocks).div_ceil(slots);
        Self { slots, period, vectors, images: 1, grid: Some(grid), positions, more: Arc::default() }
    }

    /// The layout of a fresh input of `shape`.
    pub fn input(shape: &[usize], slots: usize) -> Self {
        match *shape {
            [c, h, w] => Self::multiplexed([c, h, w], Grid { gap: [1, 1], extent: [h, w] }, slots),
            _ => Self::raster(shape.iter().product(), slots),
        }
    }

    /// The layout of an image `[channels, height, width]` that is read in `patch` by `patch` pixels which touch and do not overlap,
    /// with `padding` zeros around it: patches fastest, the pixels of a patch as their channels, so that what reads them is a dense
    /// layer per patch. `None` if patches do not cover the image exactly, or do not fit a vector.
    pub(super) fn patches([c, h, w]: [usize; 3], patch: usize, padding: usize, slots: usize) -> Option<Self> {
        let [rows, columns] = [h, w].map(|side| (side + 2 * padding) / patch);
        if [rows, columns].map(|n| n * patch) != [h + 2 * padding, w + 2 * padding] {
            return None;
        }
        let pitch = (rows * columns).next_power_of_two();
        let place = |e: usize| {
            let (ch, y, x) = (e / (h * w), e / w % h + padding, e % w + padding);
            let feature = (ch * patch + y % patch) * patch + x % patch;
            vec![pitch * feature + y / patch * columns + x / patch]
        };
        let places: Vec<Vec<usize>> = (0..c * h * w).map(place).collect();
        let period = (pitch * c * patch * patch).next_power_of_two();
        (period <= slots).then(|| Self::scattered(&places, period, 1, slots))
    }

    /// The layout of an image `shape` made by a window operation with `stride` from this layout.
    pub fn strided(&self, shape: [usize; 3], stride: [usize; 2]) -> Self {
        let Some(grid) = self.grid else { return Self::input(&shape, self.slots) };
        // A map of one pixel takes any stride, and a block that cannot be counted fits no vector.
        let gap = [grid.gap[0].saturating_mul(stride[0]), grid.gap[1].saturating_mul(stride[1])];
        let reach = [gap[0].saturating_mul(shape[1]), gap[1].saturating_mul(shape[2])];
        let extent = [grid.extent[0].max(reach[0]), grid.extent[1].max(reach[1])];
        Self::multiplexed(shape, Grid { gap, extent }, self.slots)
    }

    /// The same for `images` interleaved images, in vectors of as many times the slots.
    #[must_use]
    pub fn interleaved(&self, images: usize) -> Self {
        Self {
            slots: self.slots * images,
            period: self.period * images,
            images: self.images * images,
            positions: self.positions.iter().map(|p| p.saturating_mul(images)).collect(),
            more: self.more.iter().map(|m| m.iter().map(|p| p * images).collect()).collect(),
            ..self.clone()
        }
    }

    /// Slots per vector.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Contents repeat after this many slots.
    pub fn period(&self) -> usize {
        self.period
    }

    /// Whether every slot holds an element.
    pub(super) fn is_full(&self) -> bool {
        let places = (0..self.elements()).map(|e| self.places(e).count()).sum::<usize>();
        places * self.images >= self.period * self.vectors
    }

    /// Vectors the tensor takes.
    pub fn vectors(&self) -> usize {
        self.vectors
    }

    /// Elements.
    pub fn elements(&self) -> usize {
        self.positions.len()
    }

    /// Vector and first slot of each element, as `vector·slots + slot`; `usize::MAX` for an element that is zero and lies nowhere.
    pub fn positions(&self) -> &[usize] {
        &self.positions
    }

    /// Images in a vector.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Spread element values of up to [`Layout::images`] images over vectors, with all their copies. Places of missing images are
    /// taken by the others once more: values that no image has might leave the intervals of polynomials.
    pub fn pack(&self, images: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let mut out = vec![vec![0.0; self.slots]; self.vectors];
        for (image, values) in images.iter().cycle().take(self.images).enumerate() {
            for (element, &v) in values.iter().enumerate() {
                for p in self.places(element) {
                    if let Some(vector) = out.get_mut(p / self.slots) {
                        let first = p % self.slots + image;
                        vector.iter_mut().skip(first).step_by(self.period).for_each(|s| *s = v);
                    }
                }
            }
        }
        out
    }

    /// Read element values of image number `image` back from the first copy.
    pub fn unpack(&self, vectors: &[Vec<f64>], image: usize) -> Vec<f64> {
        let at = |p: usize| vectors.get(p / self.slots).and_then(|v| v.get(p % self.slots)).copied();
        let read = |&p: &usize| if p == NOWHERE { 0.0 } else { at(p + image).unwrap_or(f64::NAN) };
        self.positions.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_whose_product_overflows_leave_a_raster() {
        let once = Layout::input(&[3, 1, 1], 1024).strided([3, 1, 1], [1 << 40; 2]);
        let twice = once.strided([3, 1, 1], [1 << 40; 2]);
        assert_eq!((once.positions(), twice.positions()), (&[0, 1, 2][..], &[0, 1, 2][..]));
        let far = Layout::input(&[3, 1, 1], 1024).strided([3, 1, 1], [1, usize::MAX]);
        assert_eq!((far.vectors(), far.positions()), (1, &[0, 1, 2][..]));
    }

    #[test]
    fn packing_and_unpacking_is_the_identity_and_no_slot_is_used_twice() {
        for (shape, gap, extent, slots) in [
            ([1, 28, 28], [1, 1], [28, 28], 4096),
            ([32, 14, 14], [2, 2], [28, 28], 8192),
            ([64, 7, 7], [4, 4], [28, 28], 8192),
            ([5, 13, 13], [2, 2], [28, 28], 4096),
            ([32, 14, 14], [2, 2], [28, 28], 4096),
            ([3, 4, 6], [2, 1], [8, 6], 512),
        ] {
            let layout = Layout::multiplexed(shape, Grid { gap, extent }, slots);
            let n = layout.elements();
            let values = |image: usize| (1..=n).map(|v| (image * n + v) as f64).collect::<Vec<_>>();
            for layout in [layout.clone(), layout.interleaved(4)] {
                let images: Vec<_> = (0..layout.images()).map(values).collect();
                let packed = layout.pack(&images);
                assert_eq!(packed.len(), layout.vectors());
                assert!(packed.iter().all(|v| v.len() == layout.slots()));
                for (b, image) in images.iter().enumerate() {
                    assert_eq!(layout.unpack(&packed, b), *image);
                }
                let used = packed.iter().flatten().filter(|v| **v != 0.0).count();
                assert_eq!(used, layout.images() * n * layout.slots() / layout.period());
            }
        }
    }
}

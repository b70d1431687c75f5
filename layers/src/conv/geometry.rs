//! Where a convolution reads and writes, in padded flat planes.
//!
//! Images lie one under another, with zeros between rows and between images, and are, for stride `s`, split into `s²` planes of every
//! `s`-th row and column; all rows have one pitch. Then each kernel tap is a shift: output `f = y·pitch + x` needs plane `tap mod s` at
//! `f + offset(tap)`, so a convolution is a sum of shifted planes over one long run, whatever the size of the images. What is padding on
//! the right of a row is padding on the left of the next. Columns between the output's width and the pitch are computed and thrown away.

/// Multiple of the words in two of the widest vectors.
pub(super) const STRIP: usize = 32;

/// Shapes of one convolution `[ci, h, w] → [co, oh, ow]`.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub ci: usize,
    pub co: usize,
    pub h: usize,
    pub w: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub oh: usize,
    pub ow: usize,
    /// Words from one row of a plane to the next.
    pub pitch: usize,
    /// Words from one image of a plane to the next.
    pub step: usize,
    /// Largest offset of a tap.
    pub margin: usize,
}

/// Some images under one another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stack<'a> {
    pub geometry: &'a Geometry,
    pub images: usize,
    /// Words of one output channel, a multiple of [`STRIP`].
    pub flat: usize,
    /// Words of an input plane that are computed when planes are the result, a multiple of [`STRIP`].
    pub plane_flat: usize,
    /// Words of an input plane in memory.
    pub plane: usize,
}

impl Geometry {
    /// `None` if the kernel does not fit into the padded image.
    pub fn new(
        [ci, h, w]: [usize; 3],
        [co, kernel]: [usize; 2],
        stride: usize,
        padding: usize,
    ) -> Option<Self> {
        let out = |side: usize| Some((side + 2 * padding).checked_sub(kernel)? / stride + 1);
        let (oh, ow) = (out(h)?, out(w)?);
        // At least as many rows as the output has, where the kernel is smaller than the stride and the padding.
        let (rows, pitch) = ((h + padding).div_ceil(stride).max(oh), (w + padding).div_ceil(stride).max(ow));
        let last = kernel.checked_sub(1)? / stride;
        let (margin, step) = (last * pitch + last, rows * pitch);
        Some(Self { ci, co, h, w, kernel, stride, padding, oh, ow, pitch, step, margin })
    }

    /// So many images under one another.
    pub fn stack(&self, images: usize) -> Stack<'_> {
        let before = images.saturating_sub(1) * self.step;
        let flat = (before + self.oh * self.pitch).next_multiple_of(STRIP);
        let plane_flat = (before + self.step).next_multiple_of(STRIP);
        let plane = plane_flat.max(flat + self.margin).next_multiple_of(STRIP);
        Stack { geometry: self, images, flat, plane_flat, plane }
    }

    /// Planes of one channel.
    pub fn planes(&self) -> usize {
        self.stride * self.stride
    }

    /// Plane and offset of every tap, row by row.
    pub fn taps(&self) -> impl Iterator<Item = (usize, usize)> {
        let (k, s) = (self.kernel, self.stride);
        (0..k * k).map(move |t| {
            let (y, x) = (t / k, t % k);
            ((y % s) * s + x % s, (y / s) * self.pitch + x / s)
        })
    }

    /// For pixel row `y` of the image: plane row group, start of its row in the plane, and columns likewise for `x`.
    fn place(&self, at: usize) -> (usize, usize) {
        ((at + self.padding) % self.stride, (at + self.padding) / self.stride)
    }

    /// `(first pixel of the row, channel, start of the row in a plane, number of the first plane of that row)`.
    fn each_row(&self, mut f: impl FnMut(usize, usize, usize, usize)) {
        for channel in 0..self.ci {
            for y in 0..self.h {
                let (phase, row) = self.place(y);
                f((channel * self.h + y) * self.w, channel, row * self.pitch, phase * self.stride);
            }
        }
    }

    /// `(first pixel, plane, column of that pixel)` of the pixels that share a plane.
    fn each_phase(&self, mut f: impl FnMut(usize, usize, usize)) {
        for first in 0..self.stride.min(self.w) {
            let (phase, column) = self.place(first);
            f(first, phase, column);
        }
    }
}

impl Stack<'_> {
    /// Words of all planes.
    pub fn planes_len(&self) -> usize {
        self.geometry.ci * self.geometry.planes() * self.plane
    }

    /// Words of one channel of an output gradient in flat form, with [`Geometry::margin`] zeros before it.
    pub fn gradient(&self) -> usize {
        self.geometry.margin + self.flat.max(self.plane_flat)
    }

    /// Where the terms of `(channel, tap)` begin in the planes.
    pub fn terms(&self) -> Vec<usize> {
        let g = self.geometry;
        let channels = (0..g.ci).map(|c| c * g.planes());
        channels.flat_map(|c| g.taps().map(move |(plane, at)| (c + plane) * self.plane + at)).collect()
    }

    /// Copy image `number`, `[ci, h, w]`, into planes that hold zeros between images.
    pub fn spread(&self, number: usize, image: &[f32], planes: &mut [f32]) {
        let g = self.geometry;
        g.each_row(|pixels, channel, start, phase| {
            let plane = (channel * g.planes() + phase) * self.plane + number * g.step;
            let row = image.get(pixels..pixels + g.w).unwrap_or(&[]);
            g.each_phase(|first, phase_x, column| {
                let to = planes.get_mut(plane + phase_x * self.plane + start + column..).unwrap_or(&mut []);
                let from = row.get(first..).unwrap_or(&[]);
                if g.stride == 1 {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                } else {
                    to.iter_mut().zip(from.iter().step_by(g.stride)).for_each(|(to, from)| *to = *from);
                }
            });
        });
    }

    /// Image `number` from planes `[stride², ci, plane_flat]`.
    pub fn collect(&self, number: usize, planes: &[f32], image: &mut [f32]) {
        let g = self.geometry;
        g.each_row(|pixels, channel, start, phase| {
            let row = image.get_mut(pixels..pixels + g.w).unwrap_or(&mut []);
            g.each_phase(|first, phase_x, column| {
                let plane = ((phase + phase_x) * g.ci + channel) * self.plane_flat;
                let from = planes.get(plane + number * g.step + start + column..).unwrap_or(&[]);
                let to = row.get_mut(first..).unwrap_or(&mut []);
                if g.stride == 1 {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                } else {
                    to.iter_mut().step_by(g.stride).zip(from).for_each(|(to, from)| *to = *from);
                }
            });
        });
    }

    /// Rows of the output of image `number` in its image form `[co, oh, ow]` and in flat form with `lead` words before each channel
    /// of `length` words.
    pub fn output_rows(
        &self,
        number: usize,
        lead: usize,
        length: usize,
    ) -> impl Iterator<Item = (std::ops::Range<usize>, std::ops::Range<usize>)> {
        let g = self.geometry;
        (0..g.co * g.oh).map(move |row| {
            let (channel, y) = (row / g.oh, row % g.oh);
            let flat = channel * length + lead + number * g.step + y * g.pitch;
            (row * g.ow..(row + 1) * g.ow, flat..flat + g.ow)
        })
    }
}

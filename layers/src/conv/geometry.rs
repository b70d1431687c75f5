//! Where a convolution reads and writes, in padded flat planes.
//!
//! An image is padded with zeros and, for stride `s`, split into `s²` planes of every `s`-th row and column; all rows have one
//! pitch. Then each kernel tap is a shift: output `f = y·pitch + x` needs plane `tap mod s` at `f + offset(tap)`, so a convolution
//! is a sum of shifted planes over one long run, whatever the width of the image. Columns between the output's width and the pitch
//! are computed and thrown away.

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
    /// Words of the output in flat form, a multiple of [`STRIP`].
    pub flat: usize,
    /// Words of an input plane that are computed when planes are the result, a multiple of [`STRIP`].
    pub plane_flat: usize,
    /// Words of an input plane in memory.
    pub plane: usize,
    /// Largest offset of a tap.
    pub margin: usize,
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
        let (rows, pitch) = ((h + 2 * padding).div_ceil(stride), (w + 2 * padding).div_ceil(stride));
        let last = kernel.checked_sub(1)? / stride;
        let margin = last * pitch + last;
        let flat = (oh * pitch).next_multiple_of(STRIP);
        let plane_flat = (rows * pitch).next_multiple_of(STRIP);
        let plane = plane_flat.max(flat + margin).next_multiple_of(STRIP);
        Some(Self { ci, co, h, w, kernel, stride, padding, oh, ow, pitch, flat, plane_flat, plane, margin })
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

    /// Words of all planes of an image.
    pub fn planes_len(&self) -> usize {
        self.ci * self.planes() * self.plane
    }

    /// Words of one channel of an output gradient in flat form, with [`Geometry::margin`] zeros before it.
    pub fn gradient(&self) -> usize {
        self.margin + self.flat.max(self.plane_flat)
    }

    /// For pixel row `y` of the image: plane row group, start of its row in the plane, and columns likewise for `x`.
    fn place(&self, at: usize) -> (usize, usize) {
        ((at + self.padding) % self.stride, (at + self.padding) / self.stride)
    }

    /// Copy an image `[ci, h, w]` into zeroed planes.
    pub fn spread(&self, image: &[f32], planes: &mut [f32]) {
        self.each_row(|pixels, channel, start, phase| {
            let plane = (channel * self.planes() + phase) * self.plane;
            let row = image.get(pixels..pixels + self.w).unwrap_or(&[]);
            self.each_phase(|first, phase_x, column| {
                let to = planes.get_mut(plane + phase_x * self.plane + start + column..).unwrap_or(&mut []);
                let from = row.get(first..).unwrap_or(&[]);
                if self.stride == 1 {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                } else {
                    to.iter_mut().zip(from.iter().step_by(self.stride)).for_each(|(to, from)| *to = *from);
                }
            });
        });
    }

    /// The reverse of [`Geometry::spread`].
    pub fn collect(&self, planes: &[f32], image: &mut [f32]) {
        self.each_row(|pixels, channel, start, phase| {
            let plane = (channel * self.planes() + phase) * self.plane;
            let row = image.get_mut(pixels..pixels + self.w).unwrap_or(&mut []);
            self.each_phase(|first, phase_x, column| {
                let from = planes.get(plane + phase_x * self.plane + start + column..).unwrap_or(&[]);
                let to = row.get_mut(first..).unwrap_or(&mut []);
                if self.stride == 1 {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                } else {
                    to.iter_mut().step_by(self.stride).zip(from).for_each(|(to, from)| *to = *from);
                }
            });
        });
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

    /// Copy rows of the output between its image form `[co, oh, ow]` and flat form with `lead` words before each channel of
    /// `length` words.
    pub fn output_rows(
        &self,
        lead: usize,
        length: usize,
    ) -> impl Iterator<Item = (std::ops::Range<usize>, std::ops::Range<usize>)> {
        (0..self.co * self.oh).map(move |row| {
            let (channel, y) = (row / self.oh, row % self.oh);
            let flat = channel * length + lead + y * self.pitch;
            (row * self.ow..(row + 1) * self.ow, flat..flat + self.ow)
        })
    }
}

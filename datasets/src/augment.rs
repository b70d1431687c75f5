//! Seeded changes to training images that leave the class alone.

use std::f32::consts::PI;

use serde::{Deserialize, Serialize};

use crate::{
    DataError,
    config::setting,
    seeded::{Purpose, below, signed_unit, stream, unit},
};

/// Which changes are made; the default is none. All are to images, but for `noise`, which is to texts.
///
/// What is moved in from outside the image is black (stored value 0).
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Mirror every second image, on average, left to right.
    pub flip: bool,
    /// Pad each side by this many pixels and crop at random: a shift by up to this many.
    pub crop_padding: usize,
    /// Turn about the centre by up to this many degrees either way, bilinear.
    pub rotate: f32,
    /// Erase a square of this side at a random place: it becomes normalised 0, the mean.
    pub cutout: usize,
    /// Enlarge a random window to the whole image, bilinear; its sides are at least `1 − zoom` of the image's.
    pub zoom: f32,
    /// Vary contrast by a factor of up to `1 ± light` about the mean, and brightness by up to `light` deviations, per image.
    pub light: f32,
    /// Replace this share of the letters (or tokens) a text is read by, not of those to be predicted, by any others (Xie et al. 2017,
    /// arXiv:1703.02573): a network sees what its text has not, and keeps its polynomials in their intervals there too.
    pub noise: f32,
}

impl Augment {
    /// Whether images are changed.
    pub fn of_images(&self) -> bool {
        Self { noise: 0.0, ..self.clone() } != Self::default()
    }

    /// Whether texts are changed.
    pub fn of_texts(&self) -> bool {
        self.noise > 0.0
    }

    /// Refuse changes that would leave nothing of an image of this shape.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn check(&self, [_, height, width]: [usize; 3]) -> Result<(), DataError> {
        let side = height.min(width);
        if self.crop_padding >= side {
            return setting("augment.crop_padding", format!("less than {side}"), self.crop_padding);
        }
        if self.cutout >= side && self.cutout > 0 {
            return setting("augment.cutout", format!("less than {side}"), self.cutout);
        }
        if !(0.0..=180.0).contains(&self.rotate) {
            return setting("augment.rotate", "0 to 180 degrees", self.rotate);
        }
        let shares =
            [("augment.zoom", self.zoom), ("augment.light", self.light), ("augment.noise", self.noise)];
        for (name, share) in shares {
            if !(0.0..1.0).contains(&share) {
                return setting(name, "0 to below 1", share);
            }
        }
        Ok(())
    }

    /// Noise in one sample of a text of `vocabulary` tokens, in one epoch.
    pub(crate) fn disturb(&self, tokens: &mut [u16], vocabulary: usize, [seed, epoch, index]: [u64; 3]) {
        let mut rng = stream(Purpose::Noise, seed, epoch, index);
        for token in tokens {
            // Both numbers are drawn whether or not they are used, so that more noise leaves the places of less.
            let (place, other) = (unit(&mut rng), below(&mut rng, vocabulary));
            if place < self.noise {
                *token = other as u16;
            }
        }
    }

    /// The changes to one sample in one epoch: a function of these three numbers only.
    pub(crate) fn draw(&self, [_, height, width]: [usize; 3], seed: u64, epoch: u64, index: usize) -> Draw {
        let mut rng = stream(Purpose::Augment, seed, epoch, index as u64);
        let rng = &mut rng;
        // Every change draws its numbers whether or not it is on, so turning one on leaves the others.
        let flip = below(rng, 2) == 1 && self.flip;
        let span = 2 * self.crop_padding + 1;
        let [dy, dx] = [(); 2].map(|()| below(rng, span) as isize - self.crop_padding as isize);
        let angle = signed_unit(rng) * self.rotate * PI / 180.0;
        let corner = |rng: &mut _, side: usize| below(rng, side) as isize - (self.cutout / 2) as isize;
        let (top, left) = (corner(rng, height), corner(rng, width));
        let scale = 1.0 - self.zoom * (signed_unit(rng) + 1.0) / 2.0;
        let mut window = |side: usize| signed_unit(rng) * (1.0 - scale) * (side as f32 - 1.0) / 2.0;
        let centre = (window(height), window(width));
        let (gain, offset) = (1.0 + self.light * signed_unit(rng), self.light * signed_unit(rng));
        let moved = self.rotate > 0.0 || self.zoom > 0.0;
        let turn = moved.then(|| Turn { sin: scale * angle.sin(), cos: scale * angle.cos(), centre });
        Draw { flip, dy, dx, turn, hole: (top, left, self.cutout as isize), light: (gain, offset) }
    }
}

/// The changes to one image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Draw {
    flip: bool,
    dy: isize,
    dx: isize,
    turn: Option<Turn>,
    /// Top, left and side of the erased square.
    hole: (isize, isize, isize),
    /// Factor and summand of normalised values.
    light: (f32, f32),
}

/// A rotation with a change of scale.
#[derive(Clone, Debug, PartialEq)]
struct Turn {
    /// Sine and cosine of the angle, times the window's share of the image.
    sin: f32,
    cos: f32,
    /// Centre of the window, from that of the image.
    centre: (f32, f32),
}

impl Draw {
    /// Append one changed channel, each stored value replaced by its entry in `table`.
    pub(crate) fn plane(
        &self,
        plane: &[u8],
        [height, width]: [usize; 2],
        table: &[f32; 256],
        out: &mut Vec<f32>,
    ) {
        let inside = |v: isize, side: usize| usize::try_from(v).ok().filter(|&v| v < side);
        let at = |y: isize, x: isize| {
            let stored = inside(y, height).zip(inside(x, width)).and_then(|(y, x)| plane.get(y * width + x));
            table.get(usize::from(stored.copied().unwrap_or(0))).copied().unwrap_or(0.0)
        };
        let (top, left, side) = self.hole;
        let centre = ((height as f32 - 1.0) / 2.0, (width as f32 - 1.0) / 2.0);
        for y in 0..height as isize {
            for x in 0..width as isize {
                if (top..top + side).contains(&y) && (left..left + side).contains(&x) {
                    out.push(0.0);
                    continue;
                }
                let mirrored = if self.flip { width as isize - 1 - x } else { x };
                let (sy, sx) = (y + self.dy, mirrored + self.dx);
                out.push(self.lit(match &self.turn {
                    None => at(sy, sx),
                    Some(Turn { sin, cos, centre: (wy, wx) }) => {
                        let (ry, rx) = (sy as f32 - centre.0, sx as f32 - centre.1);
                        let fy = centre.0 + wy + cos * ry - sin * rx;
                        let fx = centre.1 + wx + sin * ry + cos * rx;
                        let (y0, x0) = (fy.floor(), fx.floor());
                        let (ty, tx) = (fy - y0, fx - x0);
                        let (y0, x0) = (y0 as isize, x0 as isize);
                        let above = at(y0, x0) * (1.0 - tx) + at(y0, x0 + 1) * tx;
                        let below = at(y0 + 1, x0) * (1.0 - tx) + at(y0 + 1, x0 + 1) * tx;
                        above * (1.0 - ty) + below * ty
                    }
                }));
            }
        }
    }

    fn lit(&self, value: f32) -> f32 {
        let (gain, offset) = self.light;
        gain * value + offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STILL: Draw = Draw { flip: false, dy: 0, dx: 0, turn: None, hole: (0, 0, 0), light: (1.0, 0.0) };

    fn apply(draw: Draw) -> Vec<f32> {
        let mut table = [0.0; 256];
        table.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
        let mut out = Vec::new();
        draw.plane(&[1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 3], &table, &mut out);
        out
    }

    #[test]
    fn each_change_does_what_it_says() {
        let same = [1., 2., 3., 4., 5., 6., 7., 8., 9.];
        assert_eq!(apply(STILL), same);
        assert_eq!(apply(Draw { flip: true, ..STILL }), [3., 2., 1., 6., 5., 4., 9., 8., 7.]);
        assert_eq!(apply(Draw { dy: 1, dx: -1, ..STILL }), [0., 4., 5., 0., 7., 8., 0., 0., 0.]);
        assert_eq!(apply(Draw { hole: (-1, 1, 2), ..STILL }), [1., 0., 0., 4., 5., 6., 7., 8., 9.]);
        let turned = |sin, cos, centre| apply(Draw { turn: Some(Turn { sin, cos, centre }), ..STILL });
        assert_eq!(turned(0.0, 1.0, (0.0, 0.0)), same);
        let quarter = turned(1.0, 0.0, (0.0, 0.0));
        assert_eq!(quarter, [7., 4., 1., 8., 5., 2., 9., 6., 3.]); // clockwise
        assert_eq!(turned(0.0, 0.5, (0.5, -0.5)), [4., 4.5, 5., 5.5, 6., 6.5, 7., 7.5, 8.]);
        assert_eq!(apply(Draw { light: (2.0, -1.0), ..STILL })[..3], [1., 3., 5.]);
    }

    #[test]
    fn a_draw_depends_on_seed_epoch_and_sample_only() {
        let all = Augment {
            flip: true,
            crop_padding: 4,
            rotate: 15.0,
            cutout: 8,
            zoom: 0.4,
            light: 0.3,
            noise: 0.0,
        };
        let shape = [3, 32, 32];
        let base = all.draw(shape, 1, 2, 3);
        assert_eq!(base, all.draw(shape, 1, 2, 3));
        for other in [all.draw(shape, 0, 2, 3), all.draw(shape, 1, 0, 3), all.draw(shape, 1, 2, 0)] {
            assert_ne!(base, other);
        }
        let without = Augment { flip: false, rotate: 0.0, ..all.clone() }.draw(shape, 1, 2, 3);
        assert_eq!((without.dy, without.dx, without.hole), (base.dy, base.dx, base.hole));
    }

    #[test]
    fn draws_cover_their_range_evenly() {
        let all = Augment { flip: true, crop_padding: 2, ..Augment::default() };
        let draws: Vec<Draw> = (0..2000).map(|i| all.draw([1, 8, 8], 5, 0, i)).collect();
        let flips = draws.iter().filter(|d| d.flip).count();
        // 2000 fair coins: 1000 ± 22, five deviations allowed.
        assert!((890..=1110).contains(&flips), "{flips}");
        for shift in -2..=2 {
            let n = draws.iter().filter(|d| d.dx == shift).count();
            assert!((310..=490).contains(&n), "{shift}: {n}"); // 400 ± 18
        }
    }

    #[test]
    fn changes_that_leave_nothing_are_refused() {
        let bad = [
            Augment { crop_padding: 8, ..Augment::default() },
            Augment { cutout: 8, ..Augment::default() },
            Augment { rotate: f32::NAN, ..Augment::default() },
            Augment { rotate: -1.0, ..Augment::default() },
            Augment { zoom: 1.0, ..Augment::default() },
            Augment { light: f32::NAN, ..Augment::default() },
        ];
        for augment in bad {
            assert!(augment.check([1, 8, 9]).is_err(), "{augment:?}");
        }
        assert!(Augment::default().check([1, 8, 9]).is_ok());
    }
}

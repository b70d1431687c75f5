//! Operations that walk windows over a map.
#![expect(clippy::indexing_slicing, reason = "indices follow shapes the builder has checked")]

use crate::Conv2dGeometry;

/// Output positions below `out` whose tap `k` falls inside `0..input`; none where the kernel reaches beyond a small map.
pub(crate) fn valid(
    out: usize,
    input: usize,
    k: usize,
    stride: usize,
    pad: usize,
    dilation: usize,
) -> std::ops::Range<usize> {
    let reach = k * dilation;
    let lo = pad.saturating_sub(reach).div_ceil(stride);
    let hi = if input + pad > reach { (input + pad - reach - 1) / stride + 1 } else { 0 }.min(out);
    lo.min(hi)..hi
}

/// Convolution by its definition, tap by tap: what a tap sees of a channel is laid out once, beside the outputs it goes to, so that
/// the innermost loop runs over whole planes however small they are.
pub(super) fn conv2d(
    x: &[f64],
    [_, h, w]: [usize; 3],
    weight: &[f64],
    [co, ci, kh, kw]: [usize; 4],
    bias: Option<&[f64]>,
    g: &Conv2dGeometry,
    out_shape: &[usize],
) -> Vec<f64> {
    let (ho, wo) = (out_shape[1], out_shape[2]);
    let mut out = vec![0.0; co * ho * wo];
    if let Some(b) = bias {
        for (o, plane) in out.chunks_exact_mut(ho * wo).enumerate() {
            if b.len() == co {
                plane.fill(b[o]);
            } else {
                plane.copy_from_slice(&b[o * ho * wo..(o + 1) * ho * wo]);
            }
        }
    }
    let per_group = co / g.groups;
    let mut seen = vec![0.0; ho * wo];
    for (group, planes) in out.chunks_exact_mut(per_group * ho * wo).enumerate() {
        for c in 0..ci {
            let channel = &x[(group * ci + c) * h * w..][..h * w];
            for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                let ys = valid(ho, h, ky, g.stride[0], g.padding[0], g.dilation[0]);
                let xs = valid(wo, w, kx, g.stride[1], g.padding[1], g.dilation[1]);
                if ys.is_empty() || xs.is_empty() {
                    continue;
                }
                seen.fill(0.0);
                for y in ys {
                    let row = (y * g.stride[0] + ky * g.dilation[0] - g.padding[0]) * w;
                    let first = row + xs.start * g.stride[1] + kx * g.dilation[1] - g.padding[1];
                    let values = channel[first..].iter().step_by(g.stride[1]);
                    seen[y * wo..][xs.clone()].iter_mut().zip(values).for_each(|(s, v)| *s = *v);
                }
                for (o, plane) in planes.chunks_exact_mut(ho * wo).enumerate() {
                    let v = weight[(((group * per_group + o) * ci + c) * kh + ky) * kw + kx];
                    if v != 0.0 {
                        plane.iter_mut().zip(&seen).for_each(|(t, s)| *t += v * s);
                    }
                }
            }
        }
    }
    out
}

/// `take` over the values of each window, from `start`.
pub(super) fn pool(
    x: &[f64],
    in_shape: &[usize],
    kernel: [usize; 2],
    stride: [usize; 2],
    out_shape: &[usize],
    start: f64,
    take: impl Fn(f64, f64) -> f64,
) -> Vec<f64> {
    let (h, w, ho, wo) = (in_shape[1], in_shape[2], out_shape[1], out_shape[2]);
    let mut out = vec![start; out_shape.iter().product()];
    for (i, o) in out.iter_mut().enumerate() {
        let (c, y, xx) = (i / (ho * wo), i / wo % ho, i % wo);
        for ky in 0..kernel[0] {
            for kx in 0..kernel[1] {
                *o = take(*o, x[c * h * w + (y * stride[0] + ky) * w + xx * stride[1] + kx]);
            }
        }
    }
    out
}

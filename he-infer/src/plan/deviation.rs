//! How large the errors of a node are, element by element, and the worst of many.

/// Variance of an error in two parts, which differ in how large the largest of many is: the worst of thousands of rounded slots is
/// nearly twice the worst of as many normal ones. In the batch layout the same slot of many ciphertexts shares the secret's, so
/// few images scatter more.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Variance {
    /// Normal: fresh noise, rounded weights, sums over many slots.
    pub(crate) normal: f64,
    /// Of roundings, which in a slot are a normal number times the slot of the secret, itself a normal number.
    pub(crate) rounded: f64,
}

impl Variance {
    pub(crate) fn total(self) -> f64 {
        self.normal + self.rounded
    }

    /// Both parts, multiplied.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self { normal: self.normal * factor, rounded: self.rounded * factor }
    }
}

/// Deviations of a node's error: shares of its elements with the variance each share has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Deviations {
    shares: Vec<(f64, Variance)>,
}

impl Deviations {
    /// The same variance for every element.
    pub(crate) fn even(variance: Variance) -> Self {
        Self { shares: vec![(1.0, variance)] }
    }

    /// Weighted variances; weights need not add up to one.
    pub(crate) fn new(parts: impl Iterator<Item = (f64, Variance)>) -> Self {
        let mut shares: Vec<(f64, Variance)> = parts.collect();
        let total: f64 = shares.iter().map(|s| s.0).sum();
        shares.iter_mut().for_each(|s| s.0 /= total.max(f64::MIN_POSITIVE));
        Self { shares }
    }

    /// The same shares with other variances.
    pub(crate) fn map(mut self, f: impl Fn(Variance) -> Variance) -> Self {
        self.shares.iter_mut().for_each(|(_, v)| *v = f(*v));
        self
    }

    /// Variance of an element drawn at random.
    pub(crate) fn mean(&self) -> Variance {
        let mean = |part: fn(&Variance) -> f64| self.shares.iter().map(|(share, v)| share * part(v)).sum();
        Variance { normal: mean(|v| v.normal), rounded: mean(|v| v.rounded) }
    }

    /// Largest variance.
    pub(crate) fn peak(&self) -> f64 {
        self.shares.iter().map(|s| s.1.total()).fold(0.0, f64::max)
    }

    /// The error that the largest of `count` independent elements is as likely to exceed as not.
    pub(crate) fn worst(&self, count: usize) -> f64 {
        let largest = self.peak().sqrt();
        if !largest.is_finite() || largest == 0.0 {
            return largest;
        }
        // The squared magnitude of the secret in a slot is distributed exponentially: its intervals with their probabilities.
        const EDGES: [f64; 13] = [0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 15.0, 20.0];
        let edges = EDGES.iter().zip(EDGES.iter().skip(1));
        let secret: Vec<(f64, f64)> = edges.map(|(a, b)| (0.5 * (a + b), (-a).exp() - (-b).exp())).collect();
        let parts: Vec<(f64, f64)> = self
            .shares
            .iter()
            .flat_map(|(share, v)| {
                secret.iter().map(move |(s, p)| (share * p, (v.normal + s * v.rounded).sqrt()))
            })
            .filter(|(_, deviation)| *deviation > 0.0)
            .collect();
        let rare = |w: f64| {
            let below = |(share, deviation): &(f64, f64)| share * (-beyond(w / deviation)).ln_1p();
            count.max(1) as f64 * parts.iter().map(below).sum::<f64>() > -std::f64::consts::LN_2
        };
        let (mut low, mut high) = (0.0, 20.0 * largest);
        for _ in 0..30 {
            let middle = 0.5 * (low + high);
            if rare(middle) { high = middle } else { low = middle }
        }
        high
    }
}

/// Probability that a standard normal number exceeds `t` in magnitude (Abramowitz and Stegun 7.1.26, to `1.5e-7`).
fn beyond(t: f64) -> f64 {
    let x = t / std::f64::consts::SQRT_2;
    let k = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    (series.iter().fold(0.0, |sum, c| (sum + c) * k) * (-x * x).exp()).clamp(0.0, 1.0 - 1e-9)
}

/// Up to `groups` weighted numbers that stand for all of `values`, the largest one alone.
pub(crate) fn grouped(mut values: Vec<(f64, f64)>, groups: usize) -> Vec<(f64, f64)> {
    values.sort_by(|a, b| b.1.total_cmp(&a.1));
    let rest = values.split_off(values.len().min(1));
    let size = rest.len().div_ceil(groups).max(1);
    values.extend(rest.chunks(size).map(|group| {
        let weight: f64 = group.iter().map(|g| g.0).sum();
        let sum: f64 = group.iter().map(|g| g.0 * g.1).sum();
        (weight, sum / weight.max(f64::MIN_POSITIVE))
    }));
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(normal: f64) -> Variance {
        Variance { normal, rounded: 0.0 }
    }

    #[test]
    fn the_worst_of_many_is_the_median_of_the_largest() {
        // Medians of the largest magnitude of so many standard normal numbers, and of so many products of two: the probability
        // that a product exceeds `t` is `exp(-sqrt(2) t)`.
        for (count, median) in [(1, 0.674), (10, 1.832), (1000, 3.392)] {
            let worst = Deviations::even(normal(4.0)).worst(count) / 2.0;
            assert!((worst - median).abs() < 0.01, "{count}: {worst}");
            if count == 1 {
                continue;
            }
            let products = -(1.0 - 0.5f64.powf(1.0 / count as f64)).ln() / std::f64::consts::SQRT_2;
            let worst = Deviations::even(Variance { normal: 0.0, rounded: 4.0 }).worst(count) / 2.0;
            assert!((worst / products - 1.0).abs() < 0.07, "{count}: {worst} {products}");
        }
        // A tenth of a thousand elements that are ten times as noisy decide alone.
        let mixed = Deviations::new([(0.9, normal(1.0)), (0.1, normal(100.0))].into_iter());
        assert!((mixed.worst(1000) / Deviations::even(normal(100.0)).worst(100) - 1.0).abs() < 1e-3);
        assert!((mixed.mean().total(), mixed.peak()) == (10.9, 100.0));
        let none = Deviations::even(normal(0.0)).worst(5);
        assert!(none == 0.0 && Deviations::even(normal(f64::INFINITY)).worst(5).is_infinite());
    }

    #[test]
    fn groups_keep_the_mean_and_the_largest() {
        let values: Vec<(f64, f64)> = (0..100).map(|i| (1.0, f64::from(i))).collect();
        let few = grouped(values, 8);
        assert!(few.len() == 9 && few[0] == (1.0, 99.0));
        let mean = Deviations::new(few.into_iter().map(|(w, v)| (w, normal(v)))).mean();
        assert!((mean.total() - 49.5).abs() < 1e-9);
    }
}

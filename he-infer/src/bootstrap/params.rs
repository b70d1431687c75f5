//! How a parameter set bootstraps.

/// What comes first: slots to coefficients, or raising the modulus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Slots to coefficients at the lowest levels, before raising. The default, for real and for complex slots: the modular
    /// reduction acts on the slots themselves, so nothing amplifies its noise.
    SlotsFirst,
    /// Raise, then slots to coefficients at the highest levels after the modular reduction (Cheon et al. 2018). It acts on
    /// the coefficients; going back to slots multiplies its noise by the root of the ring degree. Takes ciphertexts at level
    /// 0 if `2^log_ratio` is `q_0` over the default scale. For comparison with other libraries: both orders leave the same
    /// number of levels, the default one has more precision and takes less time.
    RaiseFirst,
}

/// How often a bootstrap runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Once.
    Single,
    /// Twice, the second time on the magnified error of the first (Meta-BTS, Bae et al. 2022). Twice the time, the same keys,
    /// no level more, and an error as small as the default scale's own rounding allows (times the root of the number of copies
    /// where values are repeated). The copies of one value must agree as closely. Only with [`Order::SlotsFirst`].
    Double,
}

/// How a parameter set bootstraps.
#[derive(Clone, Debug, PartialEq)]
pub struct BootstrapParams {
    /// What comes first.
    pub order: Order,
    /// How often it runs.
    pub precision: Precision,
    /// Fourier stages per matrix of slots to coefficients, and of coefficients to slots, in the order of application; one level
    /// each. Both sum up to `log2(n')`, for ciphertexts of `n'` values repeated as often as they fit the slots. Few values
    /// need few and small keys: the smaller transforms' and one for each halving of the slots.
    pub slots_to_coefficients: Vec<usize>,
    /// As above.
    pub coefficients_to_slots: Vec<usize>,
    /// `log2(q_0 / scale)` at level 0. Larger means less error from the sine and more from noise.
    pub log_ratio: u32,
    /// Bound of the integers that raising the modulus adds: 16 for an ephemeral secret of weight 32. They are roundings of a sum
    /// of 32 uniform numbers; one of `2^16` reaches 16 with probability `2^17 2^-32 / 32! = 2^-132`.
    pub range: usize,
    /// Degree of the cosine's polynomial (even) and the number of angle doublings after it.
    pub degree: usize,
    /// As above.
    pub doublings: usize,
    /// Part of the sine's error at full scale that a factor makes up for: 3/4 for the smallest error of full-scale values, 1/2 for the
    /// smallest relative one, 0 to leave small values exact. The factor is an error of the same sign in every slot.
    pub spread: f64,
}

impl BootstrapParams {
    /// For the deep preset [`crate::ckks::d16`]: 13 levels afterwards.
    #[must_use]
    pub fn d16() -> Self {
        Self::d16_sparse(15)
    }

    /// For [`crate::ckks::d16`] and `2^log_slots` (4 to 15) values repeated over the slots: 13 levels afterwards, 14 for up to
    /// `2^10` values, 15 for up to `2^5`.
    #[must_use]
    pub fn d16_sparse(log_slots: usize) -> Self {
        // The chain has four levels for coefficients to slots.
        Self::with_groups(split(log_slots, log_slots.div_ceil(5)), split(log_slots, 4))
    }

    /// The default modular reduction with the given matrices.
    #[must_use]
    pub fn with_groups(slots_to_coefficients: Vec<usize>, coefficients_to_slots: Vec<usize>) -> Self {
        Self {
            order: Order::SlotsFirst,
            precision: Precision::Single,
            slots_to_coefficients,
            coefficients_to_slots,
            log_ratio: 10,
            range: 16,
            degree: 30,
            doublings: 3,
            spread: 0.75,
        }
    }

    /// The same matrices with [`Order::RaiseFirst`], and a smaller ratio: its noise counts for more and its coefficients
    /// for less.
    #[must_use]
    pub fn raise_first(self) -> Self {
        Self { order: Order::RaiseFirst, log_ratio: 8, spread: 0.5, ..self }
    }

    /// For values of which few come near full scale, as in a network whose largest value must fit: exact on the average of normal ones
    /// with a seventh of full scale as their deviation. (The factor for full-scale values is `1 + 4.7e-6`; nine of them in a ResNet-18,
    /// doubled by every square on the way, were all that its logits had lost: no sum averages them away.)
    #[must_use]
    pub fn small_values(self) -> Self {
        Self { spread: 1.0 / 16.0, ..self }
    }

    /// The same with [`Precision::Double`].
    #[must_use]
    pub fn double_precision(self) -> Self {
        Self { precision: Precision::Double, ..self }
    }
}

/// `stages` in `parts` nearly equal groups, the larger ones first.
fn split(stages: usize, parts: usize) -> Vec<usize> {
    (0..parts).map(|i| (stages + parts - 1 - i) / parts).collect()
}

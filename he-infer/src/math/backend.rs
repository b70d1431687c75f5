//! Which implementation of the kernels runs: portable scalar code, AVX2 or AVX-512-IFMA.

/// A chosen kernel implementation.
///
/// The vector variants can only be obtained from functions that check the processor; that is what makes the `unsafe` calls
/// behind them sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scalar,
    Avx2,
    Ifma,
}

impl Backend {
    /// The fastest implementation this processor supports.
    #[must_use]
    pub fn detect() -> Self {
        Self::ifma().or_else(Self::avx2).unwrap_or_else(Self::scalar)
    }

    /// The portable implementation (the reference the others are tested against).
    #[must_use]
    pub fn scalar() -> Self {
        Self(Kind::Scalar)
    }

    /// The AVX2 implementation, if the processor has AVX2 and FMA.
    #[must_use]
    pub fn avx2() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            return Some(Self(Kind::Avx2));
        }
        None
    }

    /// The AVX-512-IFMA implementation, if the processor has it.
    #[must_use]
    pub fn ifma() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512ifma")
            // Every processor with the one has the other.
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512vbmi")
        {
            return Some(Self(Kind::Ifma));
        }
        None
    }

    /// Every implementation this processor supports, the portable one first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        [Some(Self::scalar()), Self::avx2(), Self::ifma()].into_iter().flatten().collect()
    }

    /// A short name for reports: `scalar`, `avx2` or `ifma`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            Kind::Avx2 => "avx2",
            Kind::Ifma => "ifma",
        }
    }

    /// Whether the AVX2 kernels run.
    #[must_use]
    pub fn is_avx2(self) -> bool {
        self.0 == Kind::Avx2
    }

    /// Whether the AVX-512-IFMA kernels run.
    #[must_use]
    pub fn is_ifma(self) -> bool {
        self.0 == Kind::Ifma
    }
}

//! Which implementation of the kernels runs: portable scalar code or AVX-512-IFMA.

/// A chosen kernel implementation.
///
/// The IFMA variant can only be obtained from [`Backend::detect`], which checks the processor; that is what makes the
/// `unsafe` calls behind it sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    ifma: bool,
}

impl Backend {
    /// The fastest implementation this processor supports.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let ifma = std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512dq")
                && std::is_x86_feature_detected!("avx512ifma");
            Self { ifma }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            Self { ifma: false }
        }
    }

    /// The portable implementation (the reference the others are tested against).
    #[must_use]
    pub fn scalar() -> Self {
        Self { ifma: false }
    }

    /// Whether the AVX-512-IFMA kernels run.
    #[must_use]
    pub fn is_ifma(self) -> bool {
        self.ifma
    }
}

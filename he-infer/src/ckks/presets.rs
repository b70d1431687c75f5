//! Tested parameter sets. Primes are listed level 0 first. Every set passes the 128-bit table except [`toy`].

use super::params::ParamsLiteral;

/// Shallow: ring degree `2^13`, depth 3, scale `2^35`.
#[must_use]
pub fn s13() -> ParamsLiteral {
    ParamsLiteral {
        log_n: 13,
        // The special prime is the larger of the two 45-bit primes, so that it covers the largest digit.
        q: vec![0x1fff_fff5_c001, 0x8_0000_4001, 0x7_fffb_0001, 0x8_0000_8001],
        p: vec![0x1fff_fff8_c001],
        alpha: 1,
        default_scale: 2f64.powi(35),
    }
}

/// Ring degree `2^13`, depth 5, scale `2^26`: about 14 bits of precision, enough for logits of shallow networks.
#[must_use]
pub fn s13d() -> ParamsLiteral {
    ParamsLiteral {
        log_n: 13,
        q: vec![0xfff8_8001, 0x402_0001, 0x3ff_0001, 0x405_4001, 0x3fe_4001, 0x406_0001],
        p: vec![0x3_ffff_ffff_c001],
        alpha: 1,
        default_scale: 2f64.powi(26),
    }
}

/// Shallow CNN: ring degree `2^14`, depth 7, scale `2^40`.
#[must_use]
pub fn s14() -> ParamsLiteral {
    ParamsLiteral {
        log_n: 14,
        q: vec![
            0x1_ffff_fff5_0001,
            0x100_0014_0001,
            0xff_ffe8_0001,
            0x100_0029_0001,
            0xff_ffc4_0001,
            0x100_003e_0001,
            0xff_ffb2_0001,
            0x100_0047_0001,
        ],
        p: vec![0x3_ffff_ffdf_0001, 0x3_ffff_ffd2_0001],
        alpha: 2,
        default_scale: 2f64.powi(40),
    }
}

/// Ring degree `2^14`, depth 8, scale `2^36`.
#[must_use]
pub fn s14d() -> ParamsLiteral {
    ParamsLiteral {
        log_n: 14,
        q: vec![
            0xffff_fffa_0001,
            0x10_0009_0001,
            0xf_fff0_0001,
            0x10_000f_0001,
            0xf_ffbb_0001,
            0x10_0027_0001,
            0xf_ffa5_0001,
            0x10_004a_0001,
            0xf_ff9c_0001,
        ],
        p: vec![0x3fff_fff7_0001, 0x3fff_ffe5_0001],
        alpha: 2,
        default_scale: 2f64.powi(36),
    }
}

/// Mid: ring degree `2^15`, depth 14, scale `2^42`.
#[must_use]
pub fn m15() -> ParamsLiteral {
    ParamsLiteral {
        log_n: 15,
        q: vec![
            0x3_ffff_ffdf_0001,
            0x400_000b_0001,
            0x3ff_ffe8_0001,
            0x400_002f_0001,
            0x3ff_ffd2_0001,
            0x400_0033_0001,
            0x3ff_ffca_0001,
            0x400_0039_0001,
            0x3ff_ffc3_0001,
            0x400_003b_0001,
            0x3ff_ffbe_0001,
            0x400_004d_0001,
            0x3ff_ff85_0001,
            0x400_0056_0001,
            0x3ff_ff7b_0001,
        ],
        p: vec![0x3_ffff_ffd2_0001, 0x3_ffff_ffcd_0001, 0x3_ffff_ffc7_0001, 0x3_ffff_ffb8_0001],
        alpha: 4,
        default_scale: 2f64.powi(42),
    }
}

/// Deep, with bootstrapping: ring degree `2^16`, scale `2^42`. Levels 1 to 3 are for the bootstrapping's slots-to-coefficients
/// matrices and 4 to 16 for the application (42-bit primes), 17 to 25 for its modular reduction (50 bits, but 40 at level 23
/// and 26 at level 24, see `bootstrap::eval_mod`) and 26 to 29 for its coefficients-to-slots matrices (50 bits).
#[must_use]
pub fn d16() -> ParamsLiteral {
    ParamsLiteral {
        log_n: 16,
        q: [&[D16_Q0], D16_42.as_slice(), &D16_REDUCE, &D16_UP].concat(),
        p: D16_P.to_vec(),
        alpha: 16,
        default_scale: 2f64.powi(42),
    }
}

const D16_Q0: u64 = 0x3_ffff_ffd2_0001;
/// The 42-bit primes of [`d16`], levels 1 to 16.
const D16_42: [u64; 16] = [
    0x400_0056_0001,
    0x3ff_ffe8_0001,
    0x400_005c_0001,
    0x3ff_ffd2_0001,
    0x400_006c_0001,
    0x3ff_ffca_0001,
    0x400_007a_0001,
    0x3ff_ffbe_0001,
    0x400_0080_0001,
    0x3ff_ff4e_0001,
    0x400_008a_0001,
    0x3ff_fefa_0001,
    0x400_00b0_0001,
    0x3ff_fee6_0001,
    0x400_00fe_0001,
    0x3ff_fe88_0001,
];
/// The primes of the modular reduction in [`d16`], levels 17 to 25.
const D16_REDUCE: [u64; 9] = [
    0x3_ffff_ffb8_0001,
    0x3_ffff_fed6_0001,
    0x3_ffff_fec8_0001,
    0x3_ffff_febe_0001,
    0x3_ffff_fea6_0001,
    0x3_ffff_fea4_0001,
    0x100_0014_0001,
    0x402_0001,
    0x3_ffff_fe9e_0001,
];
/// The primes of coefficients to slots in [`d16`], levels 26 to 29.
const D16_UP: [u64; 4] = [0x3_ffff_fe9a_0001, 0x3_ffff_fe94_0001, 0x3_ffff_fe62_0001, 0x3_ffff_fe46_0001];
/// The special primes of [`d16`]; the security table lets keys for the top level use eight of them.
const D16_P: [u64; 13] = [
    0x3_ffff_fdce_0001,
    0x3_ffff_fd90_0001,
    0x3_ffff_fd7a_0001,
    0x3_ffff_fd54_0001,
    0x3_ffff_fd50_0001,
    0x3_ffff_fd2a_0001,
    0x3_ffff_fcc4_0001,
    0x3_ffff_fcb4_0001,
    0x3_ffff_fdd4_0001,
    0x3_ffff_fc60_0001,
    0x3_ffff_fc4c_0001,
    0x3_ffff_fc3c_0001,
    0x3_ffff_fc2a_0001,
];

/// INSECURE small set for tests of bootstrapping: the primes of [`d16`] at ring degree `2^log_n`, with three levels for each
/// Fourier transform and `levels` (at most 13) for the application.
#[must_use]
pub fn toy_deep(log_n: u32, levels: usize) -> ParamsLiteral {
    let q = |n: usize| D16_42.iter().take(n).copied();
    ParamsLiteral {
        log_n,
        q: std::iter::once(D16_Q0)
            .chain(q(3 + levels))
            .chain(D16_REDUCE)
            .chain(D16_UP.into_iter().take(3))
            .collect(),
        p: D16_P.iter().take(6).copied().collect(),
        alpha: 5,
        default_scale: 2f64.powi(42),
    }
}

/// INSECURE small set for tests: the primes of [`s14`] at ring degree `2^log_n`; only `ToyParams` accepts it.
#[must_use]
pub fn toy(log_n: u32) -> ParamsLiteral {
    ParamsLiteral { log_n, ..s14() }
}

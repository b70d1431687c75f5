//! The table that decides which modulus a ring degree may carry.

/// Error deviation the table assumes.
pub(super) const TABLE_ERROR_STD: f64 = 3.19;

/// Largest `log2(QP)` for 128-bit classical security with a uniform ternary secret and error deviation 3.19, by `log_n`.
///
/// Source: Bossuat et al., "Security Guidelines for Implementing Homomorphic Encryption", 2024, IACR ePrint 2024/463
/// (stricter than the 2018 standard). `None` for degrees the table does not list.
#[must_use]
pub fn max_log_qp(log_n: u32) -> Option<u32> {
    const TABLE: [(u32, u32); 8] =
        [(10, 26), (11, 53), (12, 106), (13, 214), (14, 430), (15, 868), (16, 1747), (17, 3523)];
    TABLE.iter().find(|(l, _)| *l == log_n).map(|(_, bound)| *bound)
}

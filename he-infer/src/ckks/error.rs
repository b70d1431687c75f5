//! What can go wrong in the CKKS layer, with the values that matter.

use super::key_id::KeyId;

/// An error of the CKKS layer. Messages name the place, the need, the finding and a remedy.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CkksError {
    /// The ring degree is not supported.
    #[error("parameters: log_n must lie in 6..=17, found {log_n}; choose 13..=16 for real use")]
    RingDegree {
        /// Requested exponent.
        log_n: u32,
    },
    /// A prime of the chain does not qualify.
    #[error("parameters: modulus {prime:#x} {problem}; use `math::primes` to generate primes")]
    BadPrime {
        /// The offending modulus.
        prime: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The shape of the chain is wrong.
    #[error("parameters: {need}; found {found}")]
    BadChain {
        /// What is required.
        need: &'static str,
        /// What was given.
        found: usize,
    },
    /// The special modulus is smaller than the largest key-switching digit.
    #[error(
        "parameters: the special modulus has {log_p:.2} bits but digit {digit} has {log_digit:.2}; \
         enlarge P or lower alpha"
    )]
    SpecialTooSmall {
        /// Bits of P.
        log_p: f64,
        /// Number of the digit.
        digit: usize,
        /// Bits of the digit.
        log_digit: f64,
    },
    /// The modulus is too large for 128-bit security.
    #[error(
        "parameters: log2(QP) = {log_qp:.2} at log_n {log_n}, 128-bit security allows {limit}; \
         drop primes or raise log_n (only `ToyParams` skips this check)"
    )]
    Insecure {
        /// Exponent of the ring degree.
        log_n: u32,
        /// Exact bits of the whole modulus.
        log_qp: f64,
        /// The bound of the table, 0 if the degree is not in it.
        limit: u32,
    },
    /// The ephemeral sparse secret would meet a modulus too large for it.
    #[error(
        "parameters: bootstrapping uses a secret of weight 32 with log2(q_0 p_0) = {bits:.2} at log_n {log_n}, where 128-bit \
         security allows {limit}; take a smaller first ciphertext or special prime, or a larger ring"
    )]
    InsecureSparse {
        /// Exponent of the ring degree.
        log_n: u32,
        /// Bits of the first ciphertext prime and the first special prime.
        bits: f64,
        /// The bound, 0 if no bound is known for the degree.
        limit: f64,
    },
    /// The chain or the settings do not allow bootstrapping.
    #[error("bootstrapping: {detail}")]
    Bootstrap {
        /// What does not fit.
        detail: String,
    },
    /// The scale is not a usable positive number.
    #[error("{operation}: the scale must be finite and at least 1, found {scale}")]
    BadScale {
        /// Where.
        operation: &'static str,
        /// The scale given.
        scale: f64,
    },
    /// An object belongs to other parameters.
    #[error("{operation}: the {object} was made for other parameters; use objects of one context only")]
    Foreign {
        /// Where.
        operation: &'static str,
        /// Which operand.
        object: &'static str,
    },
    /// Operands of different keys.
    #[error(
        "{operation}: the {left} belongs to key {left_key}, the {right} to key {right_key}\n  help: use keys made together, \
         and inputs encrypted with them"
    )]
    ForeignKey {
        /// Where.
        operation: &'static str,
        /// The first operand.
        left: &'static str,
        /// Its key.
        left_key: KeyId,
        /// The second operand.
        right: &'static str,
        /// Its key.
        right_key: KeyId,
    },
    /// A level outside the chain, or above what an operand offers.
    #[error("{operation}: level {level} asked, at most {available} available")]
    LevelTooHigh {
        /// Where.
        operation: &'static str,
        /// Requested level.
        level: usize,
        /// Highest possible level.
        available: usize,
    },
    /// Operands at different levels.
    #[error("{operation}: operands at levels {left} and {right}; drop the higher one with `drop_to_level`")]
    LevelMismatch {
        /// Where.
        operation: &'static str,
        /// Level of the first operand.
        left: usize,
        /// Level of the second operand.
        right: usize,
    },
    /// Operands at different scales.
    #[error(
        "{operation}: operands at scales {left:e} and {right:e} (relative tolerance 2^-30); \
         fold the ratio into a constant before"
    )]
    ScaleMismatch {
        /// Where.
        operation: &'static str,
        /// Scale of the first operand.
        left: f64,
        /// Scale of the second operand.
        right: f64,
    },
    /// No prime is left to divide by.
    #[error(
        "{operation}: needs one level, the ciphertext is at level 0; plan for more levels or encrypt higher"
    )]
    NoLevelLeft {
        /// Where.
        operation: &'static str,
    },
    /// Too many values for the slots.
    #[error("{operation}: {given} values for {slots} slots; split the vector")]
    TooManyValues {
        /// Where.
        operation: &'static str,
        /// Number of values.
        given: usize,
        /// Number of slots.
        slots: usize,
    },
    /// A value is infinite or not a number.
    #[error("{operation}: value {index} is {value}, needs to be finite")]
    NotFinite {
        /// Where.
        operation: &'static str,
        /// Position.
        index: usize,
        /// The value.
        value: f64,
    },
    /// A scaled value does not fit the modulus.
    #[error(
        "{operation}: scaled values need {needed:.1} bits, the modulus at level {level} has {available:.1}; \
         use a smaller scale, smaller values or a higher level"
    )]
    Overflow {
        /// Where.
        operation: &'static str,
        /// Bits including sign.
        needed: f64,
        /// Bits of the modulus.
        available: f64,
        /// The level.
        level: usize,
    },
    /// A key is missing.
    #[error("{operation}: no {key} key; add it to the `KeySpec` the keys were generated from")]
    MissingKey {
        /// Where.
        operation: &'static str,
        /// Which key.
        key: String,
    },
    /// An operand list is empty.
    #[error("{operation}: needs at least one operand")]
    Empty {
        /// Where.
        operation: &'static str,
    },
    /// An index or size does not fit the operands.
    #[error("{operation}: {what} {index} is out of range, limit {limit}")]
    OutOfRange {
        /// Where.
        operation: &'static str,
        /// What the number counts.
        what: &'static str,
        /// The number.
        index: usize,
        /// First value not allowed.
        limit: usize,
    },
    /// The operating system supplied no randomness.
    #[error("randomness: the operating system gave none ({reason}); check its random source")]
    Entropy {
        /// What it said.
        reason: String,
    },
    /// Internal tables could not be built; a bug in this crate.
    #[error("context: cannot build tables for modulus {prime:#x}; please report this")]
    Tables {
        /// The modulus.
        prime: u64,
    },
}

//! The tables of key-switching gadgets. Files of keys depend on them: a change here breaks every stored evaluation key of the
//! preset and needs a note in the changelog.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]

use he_infer::ckks::{
    CkksError, CkksParams, Gadget, ParamsLiteral, ToyParams, d16, m15, max_log_qp, s13, s13d, s14, s14d, toy,
    toy_deep,
};
use proptest::prelude::*;

/// `levels: digit size/special primes`, with one entry for equal neighbours.
fn table(p: &ParamsLiteral) -> String {
    let mut runs: Vec<(usize, usize, Gadget)> = Vec::new();
    for level in 0..p.q.len() {
        let gadget = p.gadget(level);
        match runs.last_mut() {
            Some((_, last, g)) if *g == gadget => *last = level,
            _ => runs.push((level, level, gadget)),
        }
    }
    let text = runs.iter().map(|(first, last, g)| format!("{first}-{last}:{}/{}", g.alpha, g.specials));
    text.collect::<Vec<_>>().join(" ")
}

const D16: &str = "0-0:1/2 1-1:2/2 2-2:3/3 3-3:4/4 4-4:5/5 5-5:6/6 6-6:7/7 7-7:8/7 8-8:9/8 9-9:10/9 10-10:11/10 11-11:12/11 \
    12-12:13/12 13-13:14/13 14-14:15/13 15-15:8/7 16-17:9/8 18-19:10/9 20-20:11/10 21-22:12/11 23-25:13/12 26-28:10/9 29-29:8/8";

#[test]
fn presets_keep_their_gadgets() {
    let golden = [
        ("s13", s13(), "0-3:1/1"),
        ("s13d", s13d(), "0-5:1/1"),
        ("s14", s14(), "0-0:1/2 1-7:2/2"),
        ("s14d", s14d(), "0-0:1/2 1-8:2/2"),
        ("m15", m15(), "0-0:1/2 1-1:2/2 2-2:3/3 3-3:4/4 4-5:3/3 6-7:4/4 8-8:3/3 9-14:4/4"),
        ("d16", d16(), D16),
        ("toy", toy(7), "0-0:1/2 1-7:2/2"),
        (
            "toy_deep",
            toy_deep(10, 4),
            "0-0:1/2 1-1:2/2 2-2:3/3 3-3:4/4 4-4:5/5 5-5:3/3 6-7:4/4 8-9:5/5 10-10:4/4 11-19:5/5",
        ),
    ];
    for (name, params, want) in golden {
        assert_eq!(table(&params), want, "{name}");
    }
}

/// Within the security table at every level, and digits that the special primes cover.
fn obeys(p: &ParamsLiteral) -> Result<(), TestCaseError> {
    let bits = |primes: &[u64]| primes.iter().map(|q| (*q as f64).log2()).sum::<f64>();
    let limit = f64::from(max_log_qp(p.log_n).unwrap());
    for level in 0..p.q.len() {
        let Gadget { alpha, specials } = p.gadget(level);
        let (used, special) = (&p.q[..=level], bits(&p.p[..specials]));
        prop_assert!(bits(used) + special <= limit, "level {level}: {} of {limit}", bits(used) + special);
        let largest = used.chunks(alpha).map(bits).fold(0.0, f64::max);
        prop_assert!(largest <= special + 1e-9, "level {level}: a digit of {largest} under {special}");
    }
    Ok(())
}

#[test]
fn gadgets_of_secure_presets_obey_the_table() {
    for p in [s13(), s13d(), s14(), s14d(), m15(), d16()] {
        obeys(&p).unwrap();
    }
    // What does not obey is refused with the reason.
    let mut weak = s14();
    weak.p = vec![weak.q.remove(1)];
    weak.alpha = 1;
    assert!(matches!(ToyParams::new(weak), Err(CkksError::SpecialTooSmall { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn gadgets_of_accepted_parameters_obey_the_table(
        log_n in 12u32..=15, first in 30u32..=50, scale in 25u32..=45, levels in 0usize..14,
        special in 40u32..=50, specials in 1usize..5, alpha in 1usize..5,
    ) {
        let p = ParamsLiteral::generate(log_n, first, scale, levels, special, specials, alpha);
        match CkksParams::new(p.clone()) {
            Ok(_) => obeys(&p)?,
            Err(e) => prop_assert!(matches!(
                e, CkksError::Insecure { .. } | CkksError::SpecialTooSmall { .. } | CkksError::BadPrime { .. }
            ), "{e}"),
        }
    }
}

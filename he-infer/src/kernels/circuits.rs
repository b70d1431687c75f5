//! A whole circuit on ciphertexts against the same circuit on clear slots, with inputs that find different faults.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

use hetrain_export::{Basis, Interval, Polynomial};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::polynomial;
use crate::bootstrap::{BootstrapParams, Bootstrapper};
use crate::ckks::{Context, KeySpec, PrecisionStats, ToyParams, toy_deep};
use crate::slots::{CkksSlots, ClearSlots, SlotEvaluator};

/// Full scale in [-1, 1].
fn adversarial(slots: usize) -> Vec<(&'static str, Vec<f64>)> {
    let at = |f: &dyn Fn(usize) -> f64| (0..slots).map(f).collect();
    vec![
        ("constant 1", at(&|_| 1.0)),
        ("constant -1", at(&|_| -1.0)),
        ("zero", at(&|_| 0.0)),
        ("one-hot", at(&|i| f64::from(u8::from(i == 3)))),
        ("alternating", at(&|i| if i % 2 == 0 { 1.0 } else { -1.0 })),
        ("mixed", at(&|i| (i as f64 * 12.9898).sin())),
    ]
}

/// A linear map with a zero diagonal, a polynomial on an asymmetric interval with coefficients that are exactly zero, a product
/// with a rotation of itself, and an even polynomial; results in [-1, 1] at `scale`.
fn circuit<E: SlotEvaluator>(e: &E, x: &E::Vec, primes: &[u64], scale: f64) -> E::Vec {
    let (level, slots) = (e.level(x), e.slots());
    let turned = e.rotate_many(x, &[0, 1, 5]).unwrap();
    let at = primes[level] as f64 * scale / e.scale(x);
    let diagonals: [&dyn Fn(usize) -> f64; 3] =
        [&|i| 1.0 - i as f64 / slots as f64, &|_| 0.0, &|i| if i % 2 == 0 { 0.5 } else { -0.5 }];
    let factors = diagonals.map(|d| e.factor(&|| (0..slots).map(d).collect(), level, at).unwrap());
    let sum = e.dot_plain(&turned.iter().zip(&factors).collect::<Vec<_>>()).unwrap();
    let y = e.add_const(&e.rescale(&sum).unwrap(), 1.25).unwrap();
    let poly = |basis, coefficients: &[f64], low, high| {
        Polynomial::new(basis, coefficients.to_vec(), Interval::new(low, high).unwrap()).unwrap()
    };
    let bent = poly(Basis::Chebyshev, &[0.25, 0.0, -0.5, 0.0, 0.0, 0.125, 0.0, 0.25], -1.5, 4.0);
    let y = polynomial(e, &y, &bent, primes, scale).unwrap();
    let product = e.mul(&y, &e.rotate(&y, 3).unwrap()).unwrap();
    let even = poly(Basis::Monomial, &[0.5, 0.0, -0.75], -1.3, 1.5);
    polynomial(e, &product, &even, primes, scale).unwrap()
}

#[test]
fn circuits_agree_with_clear_slots_before_and_after_a_bootstrap() {
    let ctx = Context::insecure(&ToyParams::new(toy_deep(10, 13)).unwrap()).unwrap();
    let boot = Bootstrapper::new(&ctx, &BootstrapParams::with_groups(vec![3, 3, 3], vec![3, 3, 3])).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let secret = ctx.secret_key(&mut rng);
    let (top, delta) = (boot.output_level(), ctx.default_scale());
    let rotations = [1, 3, 5].map(|step| (step, top)).to_vec();
    let keys = boot.keys().union(&KeySpec { rotations, ..KeySpec::default() });
    let keys = ctx.eval_keys(&secret, &keys, &mut rng).unwrap();
    let primes = &ctx.literal().q;
    let (encrypted, clear) = (CkksSlots::new(&ctx, &keys), ClearSlots::new(ctx.slots(), primes));
    for (name, values) in adversarial(ctx.slots()) {
        let plain = ctx.encode(&values, top, delta).unwrap();
        let sent = ctx.encrypt_symmetric(&plain, &secret, &mut rng).unwrap();
        let have = circuit(&encrypted, &ctx.expand_ciphertext(&sent).unwrap(), primes, delta);
        let want = circuit(&clear, &clear.fresh(values, top, delta), primes, delta);
        assert_eq!((have.level(), have.scale()), (want.level, want.scale), "{name}");
        let error = |want: &[f64], have| {
            PrecisionStats::new(want, &ctx.decrypt(&secret, have).unwrap()).max_error.log2()
        };
        let before = error(&want.slots, &have);
        let have = circuit(&encrypted, &boot.bootstrap(&have, &keys).unwrap(), primes, delta);
        let want = circuit(&clear, &clear.fresh(want.slots, top, delta), primes, delta);
        let after = error(&want.slots, &have);
        println!("{name:>12}: 2^{before:.1} before, 2^{after:.1} after a bootstrap");
        assert!(before < -24.0 && after < -14.0, "{name}: 2^{before}, 2^{after}");
    }
}

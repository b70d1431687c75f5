#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

use hetrain_export::{Basis, Interval, Polynomial};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::ckks::{Context, EvalKeys, Gadget, KeySpec, NoiseModel, ParamsLiteral, SecretKey, ToyParams};
use crate::slots::{CkksSlots, ClearSlots, CostCounter, CostVec, Tally};

/// Which coefficients a polynomial has.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Parity {
    All,
    Even,
    Odd,
}

const LEVELS: usize = 8;

fn primes() -> Vec<u64> {
    ParamsLiteral::generate(16, 50, 50, LEVELS, 50, 3, 3).q
}

/// Coefficients of one sign pattern; `None` where the degree has the wrong parity.
fn random(rng: &mut ChaCha8Rng, degree: usize, parity: Parity) -> Option<Vec<f64>> {
    let keeps = |i: usize| match parity {
        Parity::All => true,
        Parity::Even => i.is_multiple_of(2),
        Parity::Odd => !i.is_multiple_of(2),
    };
    let coeffs = (0..=degree).map(|i| if keeps(i) { 2.0 * rng.random::<f64>() - 1.0 } else { 0.0 }).collect();
    keeps(degree).then_some(coeffs)
}

fn unit(basis: Basis, coeffs: &[f64]) -> Polynomial {
    Polynomial::new(basis, coeffs.to_vec(), Interval::new(-1.0, 1.0).unwrap()).unwrap()
}

fn evaluate<E: SlotEvaluator>(e: &E, x: &E::Vec, p: &Polynomial, primes: &[u64], scale: f64) -> E::Vec {
    match p.basis() {
        Basis::Chebyshev => chebyshev(e, x, p.coeffs(), primes, scale).unwrap(),
        Basis::Monomial => polynomial(e, x, p, primes, scale).unwrap(),
    }
}

/// Evaluate on clear slots and compare with the reference; the tally of the same evaluation.
fn check(p: &Polynomial) -> Tally {
    let (primes, slots) = (primes(), 256);
    let clear = ClearSlots::new(slots, &primes);
    let points: Vec<f64> = (0..slots).map(|i| 2.0 * i as f64 / (slots - 1) as f64 - 1.0).collect();
    let scale_out = 1.17 * 2f64.powi(48);
    let x = clear.fresh(points.clone(), LEVELS, primes[LEVELS] as f64);
    let y = evaluate(&clear, &x, p, &primes, scale_out);
    let depth = (p.degree() + 1).next_power_of_two().ilog2().max(1) as usize;
    assert_eq!(y.level, LEVELS - depth, "levels of degree {}", p.degree());
    assert!((y.scale / scale_out - 1.0).abs() < 2f64.powi(-40));
    let size: f64 = p.coeffs().iter().map(|c| c.abs()).sum();
    for (x, y) in points.iter().zip(&y.slots) {
        let want = p.eval(*x);
        assert!((y - want).abs() <= 1e-13 * size, "degree {} at {x}: {y}, not {want}", p.degree());
    }
    let counter = CostCounter::new(slots, &primes, vec![Gadget { alpha: 3, specials: 3 }]);
    let counted = evaluate(&counter, &CostVec { level: x.level, scale: x.scale }, p, &primes, scale_out);
    assert_eq!((counted.level, counted.scale), (y.level, y.scale));
    counter.tally()
}

#[test]
fn every_degree_meets_the_reference_at_minimal_depth_with_few_products() {
    // Largest number of products at some degrees; sums of products share a relinearisation, so there are fewer of those.
    let most = |degree: usize, parity: Parity| match (parity, degree) {
        (Parity::Even, 6) => Some((3, 3)),
        (Parity::Even, 14) => Some((6, 5)),
        (Parity::Even, 26) => Some((8, 7)),
        (Parity::Even, 30) => Some((9, 8)),
        (Parity::Even, 58) => Some((13, 10)),
        (Parity::Even, 62) => Some((14, 11)),
        (_, 7) => Some((5, 4)),
        (_, 15) => Some((8, 7)),
        (_, 27) => Some((11, 8)),
        (_, 31) => Some((13, 10)),
        (_, 59) => Some((22, 12)),
        (_, 63) => Some((24, 14)),
        _ => None,
    };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for basis in [Basis::Chebyshev, Basis::Monomial] {
        for parity in [Parity::All, Parity::Even, Parity::Odd] {
            for degree in 1..=63 {
                let Some(c) = random(&mut rng, degree, parity) else { continue };
                let t = check(&unit(basis, &c));
                if let Some((products, relinearisations)) = most(degree, parity) {
                    assert!(t.products <= products, "{parity:?} {degree}: {} products", t.products);
                    assert!(t.relinearisations <= relinearisations, "{parity:?} {degree}");
                }
            }
        }
    }
}

/// Series evaluated by numpy (`tests/vectors/make.py`).
#[derive(serde::Deserialize)]
struct Series {
    coefficients: Vec<f64>,
    x: Vec<f64>,
    values: Vec<f64>,
}

#[derive(serde::Deserialize)]
struct Answers {
    series: Vec<Series>,
}

#[test]
fn chebyshev_series_have_the_values_another_library_finds() {
    let answers: Answers =
        serde_json::from_str(include_str!("../../../tests/vectors/known_answers.json")).unwrap();
    let primes = primes();
    for case in answers.series {
        let clear = ClearSlots::new(case.x.len(), &primes);
        let x = clear.fresh(case.x, LEVELS, primes[LEVELS] as f64);
        let y = chebyshev(&clear, &x, &case.coefficients, &primes, 2f64.powi(48)).unwrap();
        for (have, want) in y.slots.iter().zip(&case.values) {
            assert!(
                (have - want).abs() < 1e-11,
                "degree {}: {have}, not {want}",
                case.coefficients.len() - 1
            );
        }
    }
}

#[test]
fn zeros_cost_nothing_and_break_nothing() {
    for basis in [Basis::Chebyshev, Basis::Monomial] {
        // Only the leading coefficient, a gap, a constant, nothing at all.
        for degree in [1usize, 2, 3, 8, 13, 32, 63] {
            let mut c = vec![0.0; degree + 1];
            c[degree] = -0.7;
            let t = check(&unit(basis, &c));
            assert!(t.relinearisations <= 2 * degree.ilog2().max(1) as u64, "degree {degree}: {t:?}");
            c[0] = 0.25;
            c[degree / 2] = 3.0;
            check(&unit(basis, &c));
        }
        for c in [vec![0.5], vec![0.0], vec![0.0, 0.0], vec![0.0, 1e-300], vec![1e9, -1e9, 0.0, 1e-9]] {
            assert!(check(&unit(basis, &c)).products <= 2);
        }
        // Leading zeros take no level.
        let primes = primes();
        let counter = CostCounter::new(256, &primes, vec![Gadget { alpha: 3, specials: 3 }]);
        let x = CostVec { level: 3, scale: primes[3] as f64 };
        let mut c = vec![0.0; 64];
        c[5] = 1.0;
        assert_eq!(chebyshev(&counter, &x, &c, &primes, x.scale).unwrap().level, 0);
        c[9] = 1.0;
        assert!(matches!(chebyshev(&counter, &x, &c, &primes, x.scale), Err(HeError::NoLevelLeft { .. })));
    }
}

/// Worst error of an encrypted evaluation over all slots.
fn encrypted_error(context: &Context, secret: &SecretKey, keys: &EvalKeys, p: &Polynomial) -> f64 {
    let (primes, slots, top) = (&context.literal().q, context.slots(), context.max_level());
    let points: Vec<f64> = (0..slots).map(|i| (0.37 * i as f64).sin()).collect();
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(5);
    let plain = context.encode(&points, top, primes[top] as f64).unwrap();
    let x = context.expand_ciphertext(&context.encrypt_symmetric(&plain, secret, &mut rng).unwrap()).unwrap();
    let scale_out = 1.3 * context.default_scale();
    let y = evaluate(&CkksSlots::new(context, keys), &x, p, primes, scale_out);
    assert_eq!(y.scale(), scale_out);
    assert_eq!(y.level(), top - scheme::depth(p.coeffs()));
    let got = context.decrypt(secret, &y).unwrap();
    points.iter().zip(&got).map(|(x, y)| (p.eval(*x) - y).abs()).fold(0.0, f64::max)
}

/// Predicted bits at six deviations of the noisiest value.
fn predicted_bits(context: &Context, p: &Polynomial) -> f64 {
    let (primes, top) = (&context.literal().q, context.max_level());
    let scheme = scheme_of(p, top);
    let points = (0..=32).map(|i| (f64::from(i) / 16.0 - 1.0, 1.0));
    let model = NoiseModel::new(context);
    let prime = primes[top] as f64;
    let scales =
        Scales { prime, input: prime, result: 1.3 * context.default_scale(), rounding: model.rounding(1.0) };
    let variances = Noise::new(&scheme, points).variances(model.fresh(prime).powi(2), scales);
    NoiseModel::bits(variances.iter().fold(0.0, |v: f64, p| v.max(p.1)).sqrt())
}

#[test]
fn encrypted_evaluation_has_the_exact_scale_and_the_predicted_noise() {
    let literal = ParamsLiteral::generate(11, 50, 40, 7, 50, 2, 2);
    let context = Context::insecure(&ToyParams::new(literal).unwrap()).unwrap();
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(3);
    let secret = context.secret_key(&mut rng);
    let spec = KeySpec { relin_level: Some(7), ..KeySpec::default() };
    let keys = context.eval_keys(&secret, &spec, &mut rng).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for basis in [Basis::Chebyshev, Basis::Monomial] {
        for (degree, parity) in [
            (1, Parity::All),
            (3, Parity::Odd),
            (7, Parity::All),
            (15, Parity::All),
            (30, Parity::Even),
            (31, Parity::Odd),
            (63, Parity::All),
        ] {
            let mut c = random(&mut rng, degree, parity).unwrap();
            // Series of smooth functions fall off.
            c.iter_mut().enumerate().for_each(|(i, c)| *c /= (1 + i) as f64);
            let p = unit(basis, &c);
            let bits = -encrypted_error(&context, &secret, &keys, &p).log2();
            let predicted = predicted_bits(&context, &p);
            assert!(
                (bits - predicted).abs() < 2.0,
                "{basis:?} {parity:?} {degree}: {bits:.1} bits, {predicted:.1} predicted"
            );
        }
        for c in [vec![0.5], vec![0.0], vec![0.0, 0.0, 0.0, 0.0, 1.0]] {
            assert!(encrypted_error(&context, &secret, &keys, &unit(basis, &c)) < 1e-6);
        }
    }
}

#[test]
fn composite_signs_reach_their_known_errors() {
    // Degree 1 on [a, 1] is 2x/(1 + a), with error (1 − a)/(1 + a).
    let one = CompositeSign::new(0.25, &[1]);
    assert!((one.error() - 0.6).abs() < 1e-12 && (one.eval(0.5) - 0.8).abs() < 1e-12, "{one:?}");
    // Degree 3 from 1/2: the error alternates three times and is largest at both ends and once between.
    let three = CompositeSign::new(0.5, &[3]);
    assert!((1.0 - three.eval(0.5) - three.error()).abs() < 1e-9);
    assert!((1.0 - three.eval(1.0) - three.error()).abs() < 1e-9);
    for (smallest, degrees) in
        [(2f64.powi(-9), [15, 15, 27].as_slice()), (2f64.powi(-4), &[7, 7, 7]), (2f64.powi(-3), &[63])]
    {
        let s = CompositeSign::new(smallest, degrees);
        let points = (0..=20_000).map(|i| smallest.powf(f64::from(i) / 2e4));
        let worst = points.map(|x| (s.eval(x) - 1.0).abs().max((s.eval(-x) + 1.0).abs())).fold(0.0, f64::max);
        assert!(worst < 1.001 * s.error() + 1e-12 && worst > 0.99 * s.error(), "{degrees:?}: {worst:e}");
    }
    // The published degrees for 13 bits.
    let relu = CompositeSign::for_relu(&[15, 15, 27]);
    assert_eq!(relu.depth(), 13);
    assert!(relu.relu_error() < 2f64.powi(-13), "2^{:.2}", relu.relu_error().log2());
    for i in 0..=50_000 {
        let x = (-20.0 * f64::from(i) / 5e4).exp2();
        let error = |x: f64| (0.5 * x * (1.0 + relu.eval(x)) - x.max(0.0)).abs();
        assert!(error(x).max(error(-x)) < 2f64.powi(-13), "at {x}");
    }
}

#[test]
fn encrypted_relu_meets_its_approximation() {
    let literal = ParamsLiteral::generate(10, 50, 45, 14, 50, 3, 3);
    let context = Context::insecure(&ToyParams::new(literal).unwrap()).unwrap();
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(4);
    let secret = context.secret_key(&mut rng);
    let spec = KeySpec { relin_level: Some(14), ..KeySpec::default() };
    let keys = context.eval_keys(&secret, &spec, &mut rng).unwrap();
    let (primes, slots) = (&context.literal().q, context.slots());
    let points: Vec<f64> = (0..slots).map(|i| 2.0 * i as f64 / (slots - 1) as f64 - 1.0).collect();
    let plain = context.encode(&points, 14, primes[14] as f64).unwrap();
    let x =
        context.expand_ciphertext(&context.encrypt_symmetric(&plain, &secret, &mut rng).unwrap()).unwrap();
    let relu = CompositeSign::for_relu(&[15, 15, 27]);
    let scale_out = 0.8 * context.default_scale();
    let y = relu.relu(&CkksSlots::new(&context, &keys), &x, primes, scale_out).unwrap();
    assert_eq!((y.level(), y.scale()), (0, scale_out));
    let got = context.decrypt(&secret, &y).unwrap();
    for (x, y) in points.iter().zip(got) {
        assert!((y - 0.5 * x * (1.0 + relu.eval(*x))).abs() < 1e-6, "at {x}: {y}");
        assert!((y - x.max(0.0)).abs() < 2f64.powi(-13) + 1e-6, "at {x}: {y}");
    }
    let clear = ClearSlots::new(slots, primes);
    let x = clear.fresh(points.clone(), 13, primes[13] as f64);
    let sign = relu.sign(&clear, &x, primes, scale_out).unwrap();
    assert_eq!((sign.level, sign.scale), (0, scale_out));
    assert!(points.iter().zip(&sign.slots).all(|(x, s)| (relu.eval(*x) - s).abs() < 1e-9));
    assert!(relu.relu(&clear, &x, primes, scale_out).is_err(), "one level short");
}

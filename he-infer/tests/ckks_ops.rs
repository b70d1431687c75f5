//! Homomorphic operations against the clear, on small INSECURE parameters.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]

use he_infer::ckks::{
    CkksParams, Combination, Context, EvalKeys, KeySpec, NoiseModel, PrecisionStats, SecretKey, ToyParams,
    s13d, toy,
};
use he_infer::math::backend::Backend;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

struct Bench {
    ctx: Context,
    secret: SecretKey,
    keys: EvalKeys,
    rng: ChaCha20Rng,
}

fn setup(spec: &KeySpec) -> Bench {
    let ctx = Context::insecure(&ToyParams::new(toy(11)).unwrap()).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    let secret = ctx.secret_key(&mut rng);
    let keys = ctx.eval_keys(&secret, spec, &mut rng).unwrap();
    Bench { ctx, secret, keys, rng }
}

impl Bench {
    fn values(&mut self) -> Vec<f64> {
        (0..self.ctx.slots()).map(|_| (self.rng.next_u64() >> 11) as f64 * 2f64.powi(-52) - 1.0).collect()
    }

    fn encrypt(&mut self, v: &[f64], level: usize) -> he_infer::ckks::Ciphertext {
        let pt = self.ctx.encode(v, level, self.ctx.default_scale()).unwrap();
        let seeded = self.ctx.encrypt_symmetric(&pt, &self.secret, &mut self.rng).unwrap();
        self.ctx.expand_ciphertext(&seeded).unwrap()
    }

    fn compare(&self, want: &[f64], ct: &he_infer::ckks::Ciphertext) -> PrecisionStats {
        PrecisionStats::new(want, &self.ctx.decrypt(&self.secret, ct).unwrap())
    }
}

fn rotated(v: &[f64], k: i32) -> Vec<f64> {
    let n = v.len() as i32;
    (0..n).map(|i| v[(i + k).rem_euclid(n) as usize]).collect()
}

#[test]
fn encryption_both_ways_has_the_predicted_noise() {
    let mut b = setup(&KeySpec::default());
    let v = b.values();
    let (model, scale) = (NoiseModel::new(&b.ctx), b.ctx.default_scale());
    let plain = b.ctx.encode(&v, 7, scale).unwrap();
    assert!(PrecisionStats::new(&v, &b.ctx.decode(&plain).unwrap()).rms_error < 2.0 * model.encoding(scale));
    for level in [0, 3, 7] {
        let ct = b.encrypt(&v, level);
        let ratio = b.compare(&v, &ct).rms_error / model.fresh(scale);
        assert!((0.7..1.4).contains(&ratio), "{ratio}");
        let pk = b.ctx.public_key(&b.secret, &mut b.rng).unwrap();
        let plain = b.ctx.encode(&v, level, scale).unwrap();
        let ct = b.ctx.encrypt_public(&plain, &pk, &mut b.rng).unwrap();
        let ratio = b.compare(&v, &ct).rms_error / model.fresh_public(scale);
        assert!((0.5..2.0).contains(&ratio), "{ratio}");
    }
}

#[test]
fn rotations_match_the_clear_and_hoisting_changes_nothing() {
    let steps = [1, 2, 7, -3, 500, 1023];
    // Keys above the ciphertext level, at it, and with a partial last digit.
    for (key_level, level) in [(7, 7), (7, 4), (5, 5), (4, 0)] {
        let spec = KeySpec {
            rotations: steps.iter().map(|s| (*s, key_level)).collect(),
            conjugation_level: Some(key_level),
            ..KeySpec::default()
        };
        let mut b = setup(&spec);
        let v = b.values();
        let ct = b.encrypt(&v, level);
        let many = b.ctx.rotate_many(&ct, &steps, &b.keys).unwrap();
        let model = NoiseModel::new(&b.ctx);
        let scale = b.ctx.default_scale();
        let predicted = NoiseModel::sum(&[model.fresh(scale), model.key_switch(level, scale)]);
        for (step, hoisted) in steps.iter().zip(&many) {
            let plain = b.ctx.rotate(&ct, *step, &b.keys).unwrap();
            let (x, y) =
                (b.ctx.decrypt(&b.secret, &plain).unwrap(), b.ctx.decrypt(&b.secret, hoisted).unwrap());
            assert!(x == y, "hoisted rotation differs");
            let ratio = PrecisionStats::new(&rotated(&v, *step), &x).rms_error / predicted;
            assert!((0.25..4.0).contains(&ratio), "noise ratio {ratio}");
        }
        let conj = b.ctx.conjugate(&ct, &b.keys).unwrap();
        assert!(b.compare(&v, &conj).rms_error < 4.0 * predicted);
        assert!(b.ctx.rotate(&ct, 4, &b.keys).is_err());
    }
}

#[test]
fn products_sums_and_rescaling_match_the_clear() {
    let mut b = setup(&KeySpec { relin_level: Some(7), ..KeySpec::default() });
    let (x, y) = (b.values(), b.values());
    for level in [7, 4, 1] {
        let (cx, cy) = (b.encrypt(&x, level), b.encrypt(&y, level));
        let product: Vec<f64> = x.iter().zip(&y).map(|(a, b)| a * b).collect();
        let two_step = b.ctx.rescale(&b.ctx.mul(&cx, &cy, &b.keys).unwrap()).unwrap();
        let fused = b.ctx.mul_rescale(&cx, &cy, &b.keys).unwrap();
        for ct in [&two_step, &fused] {
            assert_eq!(ct.level(), level - 1);
            let want = b.ctx.default_scale().powi(2) / b.ctx.modulus_at(level).unwrap() as f64;
            assert!((ct.scale() / want - 1.0).abs() < 1e-15);
            let s = b.compare(&product, ct);
            assert!(s.min_bits > 24.0, "{s}");
        }
        let sum = b.ctx.sum_of_products_rescale(&[(&cx, &cy), (&cx, &cx)], &b.keys).unwrap();
        let want: Vec<f64> = x.iter().zip(&y).map(|(a, b)| a * b + a * a).collect();
        assert!(b.compare(&want, &sum).min_bits > 23.5);
        let square = b.ctx.square_rescale(&cx, &b.keys).unwrap();
        let want: Vec<f64> = x.iter().map(|a| a * a).collect();
        assert!(b.compare(&want, &square).min_bits > 24.0);
    }
}

#[test]
fn combinations_add_products_and_multiples_before_one_rescaling() {
    let mut b = setup(&KeySpec { relin_level: Some(7), ..KeySpec::default() });
    let (x, y, z) = (b.values(), b.values(), b.values());
    // Operands above the level of the sum, and one at another scale.
    let (cx, cy, mut cz) = (b.encrypt(&x, 6), b.encrypt(&y, 5), b.encrypt(&z, 7));
    cz.divide_message(3.0).unwrap();
    let (level, q) = (5, b.ctx.modulus_at(5).unwrap() as f64);
    let scale = b.ctx.default_scale().powi(2) / q;
    let mut sum = Combination {
        times: 2,
        products: vec![(&cx, &cy), (&cx, &cx)],
        terms: vec![(&cz, -0.7), (&cy, 0.3)],
        constant: 0.25,
    };
    let scalar = b.ctx.on_backend(Backend::scalar()).unwrap();
    for products in [2, 1, 0] {
        sum.products.truncate(products);
        let want: Vec<f64> = (0..x.len())
            .map(|i| {
                let squares = [x[i] * y[i], x[i] * x[i]];
                2.0 * squares[..products].iter().sum::<f64>() - 0.7 * z[i] / 3.0 + 0.3 * y[i] + 0.25
            })
            .collect();
        let out = b.ctx.combine(&sum, level, scale, &b.keys).unwrap();
        assert_eq!((out.level(), out.scale()), (level - 1, scale));
        let s = b.compare(&want, &out);
        assert!(s.min_bits > 23.5, "{s}");
        let same = scalar.combine(&sum, level, scale, &b.keys).unwrap();
        assert!(b.ctx.decrypt(&b.secret, &same).unwrap() == b.ctx.decrypt(&b.secret, &out).unwrap());
    }
    assert!(b.ctx.combine(&sum, 6, scale, &b.keys).is_err(), "an operand below the level");
    assert!(b.ctx.combine(&sum, 0, scale, &b.keys).is_err(), "no level left");
    sum.terms[0].1 = 1e300;
    assert!(b.ctx.combine(&sum, level, scale, &b.keys).is_err(), "a constant that does not fit");
    sum.terms.clear();
    assert!(b.ctx.combine(&sum, level, scale, &b.keys).is_err(), "an empty sum");
    sum.products.push((&cx, &cy));
    assert!(b.ctx.combine(&sum, level, 1.1 * scale, &b.keys).is_err(), "a product of another scale");
    assert!(b.ctx.combine(&sum, level, scale, &EvalKeys::default()).is_err(), "no key");
}

#[test]
fn plain_operations_keep_exact_scales() {
    let mut b = setup(&KeySpec::default());
    let (x, y, w) = (b.values(), b.values(), b.values());
    let (cx, cy) = (b.encrypt(&x, 5), b.encrypt(&y, 5));
    let q = b.ctx.modulus_at(5).unwrap() as f64;
    // Encode weights so that the rescaled result has exactly the default scale.
    let pw = b.ctx.encode_mul(&w, 5, b.ctx.default_scale() * q / cx.scale()).unwrap();
    let dot = b.ctx.dot_plain(&[(&cx, &pw), (&cy, &pw)]).unwrap();
    let bias = b.ctx.encode(&y, 6, dot.scale()).unwrap();
    let mut out = b.ctx.rescale(&b.ctx.add_plain(&dot, &bias).unwrap()).unwrap();
    assert!((out.scale() / b.ctx.default_scale() - 1.0).abs() < 2f64.powi(-40));
    out.set_exact_scale(b.ctx.default_scale()).unwrap();
    let want: Vec<f64> = (0..x.len()).map(|i| (x[i] + y[i]) * w[i] + y[i]).collect();
    assert!(b.compare(&want, &out).min_bits > 24.0, "{}", b.compare(&want, &out));
    let shifted = b.ctx.add_const(&b.ctx.negate(&out).unwrap(), 0.25).unwrap();
    let tripled = b.ctx.mul_const(&shifted, 3.0, 1.0).unwrap();
    let want: Vec<f64> = want.iter().map(|v| 3.0 * (0.25 - v)).collect();
    assert!(b.compare(&want, &tripled).min_bits > 22.0);
    let lower = b.ctx.drop_to_level(&tripled, 1).unwrap();
    assert!(b.compare(&want, &lower).min_bits > 22.0);
    assert!(b.ctx.add(&lower, &tripled).is_err() && b.ctx.add(&cx, &dot).is_err());
    let difference = b.ctx.sub(&cx, &cy).unwrap();
    let want: Vec<f64> = x.iter().zip(&y).map(|(a, b)| a - b).collect();
    assert!(b.compare(&want, &difference).min_bits > 25.0);
}

#[test]
fn encoding_refuses_what_does_not_fit() {
    let b = setup(&KeySpec::default());
    let scale = b.ctx.default_scale();
    assert!(b.ctx.encode(&[1e9], 0, scale).is_err());
    assert!(b.ctx.encode(&[1e5; 1024], 0, scale).is_err());
    assert!(b.ctx.encode(&[1e5; 1024], 1, scale).is_ok());
    assert!(b.ctx.encode(&[f64::NAN], 1, scale).is_err());
    assert!(b.ctx.encode(&vec![0.0; 1025], 1, scale).is_err());
    assert!(b.ctx.encode(&[1.0], 8, scale).is_err());
    // A scale beyond 64 bits: constants for unrescaled products.
    let big = b.ctx.encode(&[0.5, -3.0], 4, 2f64.powi(90)).unwrap();
    let back = b.ctx.decode(&big).unwrap();
    assert!((back[0] - 0.5).abs() < 1e-12 && (back[1] + 3.0).abs() < 1e-12);
}

#[test]
fn constant_matrices_match_the_clear() {
    let mut b = setup(&KeySpec::default());
    let inputs: Vec<Vec<f64>> = (0..9).map(|_| b.values()).collect();
    let cts: Vec<_> = inputs.iter().map(|v| b.encrypt(v, 2)).collect();
    let rows: Vec<Vec<(usize, f64)>> = (0..14)
        .map(|o| {
            (0..9).filter(|i| o < 8 || (i + o) % 3 == 0).map(|i| (i, ((o * 9 + i) as f64).sin())).collect()
        })
        .chain([vec![]])
        .collect();
    let weight_scale = 2f64.powi(30);
    for pool in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(pool).build().unwrap();
        let out = pool.install(|| b.ctx.matrix_const(&cts, &rows, weight_scale)).unwrap();
        for (row, ct) in rows.iter().zip(&out) {
            let want: Vec<f64> =
                (0..b.ctx.slots()).map(|s| row.iter().map(|(i, w)| w * inputs[*i][s]).sum()).collect();
            assert_eq!(ct.scale(), b.ctx.default_scale() * weight_scale);
            let s = b.compare(&want, ct);
            assert!(s.min_bits > 24.0, "{s}");
        }
    }
    assert!(b.ctx.matrix_const(&cts, &[vec![(9, 1.0)]], weight_scale).is_err());
}

#[test]
fn portable_kernels_give_the_same_bits() {
    let spec = KeySpec { relin_level: Some(5), rotations: vec![(3, 5)], ..KeySpec::default() };
    let mut b = setup(&spec);
    let v = b.values();
    let ct = b.encrypt(&v, 5);
    let slow = b.ctx.on_backend(Backend::scalar()).unwrap();
    for f in [
        |c: &Context, ct: &_, k: &_| c.rotate(ct, 3, k).unwrap(),
        |c: &Context, ct: &_, k: &_| c.square_rescale(ct, k).unwrap(),
    ] {
        let (x, y) = (f(&b.ctx, &ct, &b.keys), f(&slow, &ct, &b.keys));
        assert!(b.ctx.decrypt(&b.secret, &x).unwrap() == slow.decrypt(&b.secret, &y).unwrap());
    }
}

#[test]
fn s13d_reaches_its_promised_precision_at_depth_five() {
    let ctx = Context::new(&CkksParams::new(s13d()).unwrap()).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let secret = ctx.secret_key(&mut rng);
    let keys =
        ctx.eval_keys(&secret, &KeySpec { relin_level: Some(5), ..KeySpec::default() }, &mut rng).unwrap();
    let v: Vec<f64> = (0..ctx.slots()).map(|i| (i as f64 * 0.37).sin()).collect();
    let plain = ctx.encode(&v, 5, ctx.default_scale()).unwrap();
    let seeded = ctx.encrypt_symmetric(&plain, &secret, &mut rng).unwrap();
    let mut ct = ctx.expand_ciphertext(&seeded).unwrap();
    let mut want = v;
    for _ in 0..5 {
        ct = ctx.square_rescale(&ct, &keys).unwrap();
        want.iter_mut().for_each(|x| *x *= *x);
    }
    let stats = PrecisionStats::new(&want, &ctx.decrypt(&secret, &ct).unwrap());
    // Over forty seeds the worst of all slots has 8.5 to 9.7 bits and the mean 15.9.
    assert!(ct.level() == 0 && stats.min_bits > 8.0 && stats.mean_bits > 15.0, "{stats}");
}

#[test]
fn published_results_are_flooded_and_rounded() {
    let mut b = setup(&KeySpec::default());
    let v = b.values();
    let ct = b.encrypt(&v, 1);
    let noise_bound = NoiseModel::new(&b.ctx).fresh(ct.scale());
    let policy = he_infer::ckks::PublicationPolicy { noise_bound, published: 1, security_bits: 30 };
    let out = b.ctx.decrypt_for_publication(&b.secret, &ct, policy, &mut b.rng).unwrap();
    let s = PrecisionStats::new(&v, &out.values);
    assert!((0.7..1.5).contains(&(s.rms_error / out.flooding)), "{s} {}", out.flooding);
    // Against the whole noise vector, not the noise of one slot: divergence 2^-s / 24.
    let length = noise_bound * (b.ctx.slots() as f64).sqrt();
    let divergence = (length / out.flooding).powi(2) / 2.0;
    assert!((divergence * 24.0 * 2f64.powi(30) - 1.0).abs() < 1e-9, "{divergence:e}");
    assert!(out.values.iter().all(|x| (x / out.resolution).fract() == 0.0));
    let weak = he_infer::ckks::PublicationPolicy { security_bits: 10, ..policy };
    assert!(b.ctx.decrypt_for_publication(&b.secret, &ct, weak, &mut b.rng).is_err());
}

#[test]
fn factors_that_repeat_are_held_once_and_multiply_as_any() {
    let mut b = setup(&KeySpec::default());
    let (level, scale) = (2, b.ctx.default_scale());
    let (x, noise) = (b.values(), b.values());
    let ct = b.encrypt(&x, level);
    for log_copies in [0, 1, 2, 3, 6] {
        let period = noise.len() >> log_copies;
        let plain: Vec<f64> = noise[..period].iter().copied().cycle().take(noise.len()).collect();
        // Beside one that does not repeat, as in a layer with both.
        let factors = [&plain, &noise].map(|v| b.ctx.encode_mul(v, level, scale).unwrap());
        let sum = b.ctx.dot_plain(&[(&ct, &factors[0]), (&ct, &factors[1])]).unwrap();
        let want: Vec<f64> = x.iter().zip(plain.iter().zip(&noise)).map(|(x, (p, q))| x * (p + q)).collect();
        let found = b.compare(&want, &b.ctx.rescale(&sum).unwrap());
        assert!(found.min_bits > 12.0, "2^{log_copies} copies: {found}");
    }
}

//! Variants of bootstrapping: each against its predicted error, on small INSECURE parameters and, ignored, on the secure
//! preset.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use he_infer::bootstrap::{BootstrapParams, Bootstrapper, Order};
use he_infer::ckks::{CkksParams, Context, EvalKeys, KeySpec, PrecisionStats, SecretKey, d16};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

#[path = "common/refresh.rs"]
mod refresh;
use refresh::{adversarial, encrypt, toy};

/// Everything one variant needs.
struct Variant<'a> {
    ctx: &'a Context,
    boot: Bootstrapper<'a>,
    secret: SecretKey,
    keys: EvalKeys,
    rng: ChaCha20Rng,
}

impl<'a> Variant<'a> {
    /// With the listed keys only.
    fn new(ctx: &'a Context, params: &BootstrapParams) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(21);
        let secret = ctx.secret_key(&mut rng);
        let boot = Bootstrapper::new(ctx, params).unwrap();
        let keys = ctx.eval_keys(&secret, &boot.keys(), &mut rng).unwrap();
        Self { ctx, boot, secret, keys, rng }
    }

    /// Worst error of a refresh of `re + i im` in either part (only the real one if `im` is empty), compared with what the
    /// ciphertext holds.
    fn refresh(&mut self, re: &[f64], im: &[f64]) -> f64 {
        let (ctx, level) = (self.ctx, self.boot.input_level());
        let ct = encrypt(ctx, &self.secret, (re, im), level, &mut self.rng);
        let fresh = match im {
            [] => self.boot.bootstrap(&ct, &self.keys).unwrap(),
            _ => self.boot.bootstrap_complex(&ct, &self.keys).unwrap(),
        };
        assert_eq!(fresh.level(), self.boot.output_level());
        assert!((fresh.scale() / ctx.default_scale() - 1.0).abs() < 1e-11, "scale {}", fresh.scale());
        let want = ctx.decrypt_complex(&self.secret, &ct).unwrap();
        let have = ctx.decrypt_complex(&self.secret, &fresh).unwrap();
        let worst = |want: &[f64], have: &[f64]| PrecisionStats::new(want, have).max_error;
        // What a real bootstrap leaves in the imaginary parts must be noise, too: polynomials would let it grow.
        worst(&want.0, &have.0).max(worst(&want.1, &have.1))
    }

    /// Worst slot over adversarial inputs, within two bits of the prediction; `values` real ones, or pairs as complex ones.
    fn check(&mut self, name: &str, (order, complex): (Order, bool), values: usize) -> f64 {
        let slots = self.ctx.slots();
        let fill = |v: &[f64], by: f64| v.iter().map(|x| x * by).cycle().take(slots).collect::<Vec<_>>();
        let mut worst = 0f64;
        for pair in adversarial(values).windows(2) {
            let [(input, re), (_, im)] = pair else { continue };
            let error = match complex {
                // At most 1 in absolute value.
                true => self.refresh(&fill(re, 0.5f64.sqrt()), &fill(im, 0.5f64.sqrt())),
                false => self.refresh(&fill(re, 1.0), &[]),
            };
            println!("{name:>18}, {input:>12}: {:.1} bits", -error.log2());
            worst = worst.max(error);
        }
        let (deviation, systematic) = self.boot.error();
        let both = if complex && order == Order::SlotsFirst { 2f64.sqrt() } else { 1.0 };
        // The largest of so many Laplace-distributed numbers.
        let largest = (slots as f64).ln() / 2f64.sqrt();
        let (measured, predicted) = (-worst.log2(), -(largest * both * deviation + systematic).log2());
        println!("{name:>18}: {measured:.1} bits, predicted {predicted:.1}");
        assert!((measured - predicted).abs() < 2.0, "{name}: {measured} bits, predicted {predicted}");
        measured
    }
}

/// Every variant with the keys it lists, those of one at a time; double precision must have `doubled` bits.
fn variants(ctx: &Context, full: &BootstrapParams, sparse: &BootstrapParams, doubled: f64) {
    let (real, complex) = ((Order::SlotsFirst, false), (Order::SlotsFirst, true));
    let (raise_real, raise_complex) = ((Order::RaiseFirst, false), (Order::RaiseFirst, true));
    let (slots, few) = (ctx.slots(), 1 << sparse.coefficients_to_slots.iter().sum::<usize>());
    let check = |name: &str, params: &BootstrapParams, values: usize, kinds: &[(Order, bool)]| -> f64 {
        let mut variant = Variant::new(ctx, params);
        kinds.iter().map(|kind| variant.check(name, *kind, values)).fold(f64::INFINITY, f64::min)
    };
    check("complex", full, slots, &[complex]);
    let bits = check("double", &full.clone().double_precision(), slots, &[real, complex]);
    assert!(bits > doubled, "{bits}");
    check("sparse", sparse, few, &[real, complex]);
    check("sparse double", &sparse.clone().double_precision(), few, &[real]);
    check("raise first", &full.clone().raise_first(), slots, &[raise_real, raise_complex]);
    check("raise first sparse", &sparse.clone().raise_first(), few, &[raise_real, raise_complex]);
}

fn toy_params() -> (BootstrapParams, BootstrapParams) {
    let groups = BootstrapParams::with_groups;
    (groups(vec![3, 3, 3], vec![3, 3, 3]), groups(vec![3, 2], vec![2, 2, 1]))
}

#[test]
fn variants_keep_their_predicted_precision() {
    let (full, sparse) = toy_params();
    variants(&toy(10, 4), &full, &sparse, 30.0);
}

#[test]
#[ignore = "the secure preset: minutes and gigabytes"]
fn variants_keep_their_predicted_precision_at_the_secure_preset() {
    let ctx = Context::new(&CkksParams::new(d16()).unwrap()).unwrap();
    variants(&ctx, &BootstrapParams::d16(), &BootstrapParams::d16_sparse(10), 24.0);
}

#[test]
fn pairs_come_back_in_every_variant() {
    let ctx = toy(10, 4);
    let (full, sparse) = toy_params();
    let inputs = adversarial(32);
    let values =
        [&inputs[0].1, &inputs[3].1].map(|v| v.iter().copied().cycle().take(ctx.slots()).collect::<Vec<_>>());
    for (params, bits) in
        [(sparse, 18.0), (full.clone().raise_first(), 14.0), (full.double_precision(), 30.0)]
    {
        let mut v = Variant::new(&ctx, &params);
        let level = v.boot.input_level();
        let [a, b] = [0, 1].map(|i| encrypt(&ctx, &v.secret, (&values[i], &[]), level, &mut v.rng));
        let fresh = v.boot.bootstrap_pair([&a, &b], &v.keys).unwrap();
        for (before, after) in [a, b].iter().zip(&fresh) {
            let [want, have] = [before, after].map(|ct| ctx.decrypt(&v.secret, ct).unwrap());
            let stats = PrecisionStats::new(&want, &have);
            assert!(stats.min_bits > bits, "{params:?}: {stats}");
        }
    }
}

#[test]
fn another_ratio_takes_one_level_below_raising() {
    let ctx = toy(10, 4);
    let raise_first = toy_params().0.raise_first();
    assert_eq!(Bootstrapper::new(&ctx, &raise_first).unwrap().input_level(), 0);
    let mut variant = Variant::new(&ctx, &BootstrapParams { log_ratio: 9, ..raise_first });
    assert_eq!(variant.boot.input_level(), 1);
    variant.check("ratio 2^9", (Order::RaiseFirst, true), ctx.slots());
}

#[test]
fn every_listed_key_of_the_sparse_variant_is_needed() {
    let ctx = toy(10, 4);
    let mut v = Variant::new(&ctx, &toy_params().1);
    let ct = encrypt(&ctx, &v.secret, (&[0.5; 512], &[]), v.boot.input_level(), &mut v.rng);
    let all = v.boot.keys();
    let mut specs: Vec<KeySpec> = (0..all.rotations.len())
        .map(|i| {
            let mut rotations = all.rotations.clone();
            rotations.remove(i);
            KeySpec { rotations, ..all.clone() }
        })
        .collect();
    specs.push(KeySpec { encapsulation: false, ..all.clone() });
    specs.push(KeySpec { conjugation_level: None, ..all.clone() });
    specs.push(KeySpec { relin_level: None, ..all.clone() });
    for spec in specs {
        let keys = ctx.eval_keys(&v.secret, &spec, &mut v.rng).unwrap();
        assert!(v.boot.bootstrap(&ct, &keys).is_err(), "not needed: all but {spec:?}");
    }
}

#[test]
fn what_cannot_work_is_refused() {
    let ctx = toy(10, 4);
    let (full, _) = toy_params();
    let groups = BootstrapParams::with_groups;
    for (params, word) in [
        (full.clone().raise_first().double_precision(), "RaiseFirst"),
        (BootstrapParams { log_ratio: 1, ..full.double_precision() }, "below 1/4"),
        (groups(vec![3, 3, 2], vec![3, 3, 3]), "both add up"),
        (groups(vec![4, 3, 3], vec![4, 3, 3]), "from 1 to 9"),
        (groups(vec![], vec![]), "from 1 to 9"),
        (groups(vec![3, 3, 0], vec![2, 2, 2]), "not contain 0"),
        (groups(vec![3, 3, 3], vec![2, 2, 1, 1, 1, 1, 1]), "levels are needed"),
    ] {
        let message = Bootstrapper::new(&ctx, &params).err().unwrap().to_string();
        assert!(message.contains(word), "{message}");
    }
}

//! The predicted noise of single operations beside what is measured.
#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use he_infer::ckks::{
    Context, KeySpec, NoiseModel, ParamsLiteral, PrecisionStats, ToyParams, d16, m15, s13, s14d,
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

/// The error of one rotation at each of `levels`, measured as the difference to the rotated decryption, so that nothing else is
/// in it, within half a bit of the prediction: with 1024 slots the measured deviation itself scatters by a tenth of one.
fn rotations_have_the_predicted_noise(params: &ParamsLiteral, levels: &[usize]) {
    let ctx = Context::insecure(&ToyParams::new(params.clone()).unwrap()).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let secret = ctx.secret_key(&mut rng);
    let (model, scale) = (NoiseModel::new(&ctx), ctx.default_scale());
    let v: Vec<f64> = (0..ctx.slots()).map(|i| (0.7 * i as f64).sin()).collect();
    for &level in levels {
        // One key at a time: those of the top level of the largest preset take a fifth of a gigabyte.
        let spec = KeySpec { rotations: vec![(1, level)], ..KeySpec::default() };
        let keys = ctx.eval_keys(&secret, &spec, &mut rng).unwrap();
        let plain = ctx.encode(&v, level, scale).unwrap();
        let fresh = ctx.encrypt_symmetric(&plain, &secret, &mut rng).unwrap();
        let fresh = ctx.expand_ciphertext(&fresh).unwrap();
        let mut want = ctx.decrypt(&secret, &fresh).unwrap();
        want.rotate_left(1);
        let got = ctx.decrypt(&secret, &ctx.rotate(&fresh, 1, &keys).unwrap()).unwrap();
        let measured = PrecisionStats::new(&want, &got).rms_error;
        let off = (measured / model.key_switch(level, scale)).log2();
        assert!(off.abs() < 0.5, "level {level}: {off:+.2} bits from the prediction");
    }
}

#[test]
fn key_switches_have_the_predicted_noise() {
    // In the first set the special prime is no larger than the digits, whose noise shows; in the others rounding is all.
    for params in [s13(), s14d(), m15(), d16()] {
        let levels: Vec<usize> = (0..params.q.len()).collect();
        rotations_have_the_predicted_noise(&ParamsLiteral { log_n: 11, ..params }, &levels);
    }
}

#[test]
fn key_switches_of_the_deep_preset_have_the_predicted_noise() {
    rotations_have_the_predicted_noise(&d16(), &[0, 15, 29]);
}

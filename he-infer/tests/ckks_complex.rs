//! Complex slots, on small INSECURE parameters.
#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use he_infer::ckks::{CkksError, Context, KeySpec, ToyParams, toy};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

fn context() -> Context {
    Context::insecure(&ToyParams::new(toy(9)).unwrap()).unwrap()
}

fn close(a: &[f64], b: &[f64], tolerance: f64) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| (x - y).abs() < tolerance)
}

#[test]
fn complex_slots_survive_encoding_encryption_and_products() {
    let ctx = context();
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let secret = ctx.secret_key(&mut rng);
    let (re, im): (Vec<f64>, Vec<f64>) = (0..ctx.slots()).map(|i| (i as f64).sin_cos()).unzip();
    let scale = ctx.default_scale();
    let plain = ctx.encode_complex(&re, &im, 4, scale).unwrap();
    let (x, y) = ctx.decode_complex(&plain).unwrap();
    assert!(close(&x, &re, 1e-9) && close(&y, &im, 1e-9));
    assert!(close(&ctx.decode(&plain).unwrap(), &re, 1e-9));
    let ct = ctx.expand_ciphertext(&ctx.encrypt_symmetric(&plain, &secret, &mut rng).unwrap()).unwrap();
    let (x, y) = ctx.decrypt_complex(&secret, &ct).unwrap();
    assert!(close(&x, &re, 1e-6) && close(&y, &im, 1e-6));
    // Complex conjugation by key equals encoding the conjugate; z conj(z) is 1 everywhere.
    let spec = KeySpec { conjugation_level: Some(4), ..KeySpec::default() };
    let keys = ctx.eval_keys(&secret, &spec, &mut rng).unwrap();
    let (x, y) = ctx.decrypt_complex(&secret, &ctx.conjugate(&ct, &keys).unwrap()).unwrap();
    let minus: Vec<f64> = im.iter().map(|v| -v).collect();
    assert!(close(&x, &re, 1e-6) && close(&y, &minus, 1e-6));
    let conj = ctx.encode_complex_coefficients(&re, &minus, scale).unwrap();
    let product = ctx.mul_plain(&ct, &ctx.expand_mul(&conj, 4).unwrap()).unwrap();
    let (x, y) = ctx.decrypt_complex(&secret, &product).unwrap();
    assert!(close(&x, &vec![1.0; re.len()], 1e-6) && close(&y, &vec![0.0; re.len()], 1e-6));
    // Missing parts are zero, too many are refused, positions of bad values are named.
    let (x, y) = ctx.decode_complex(&ctx.encode_complex(&[], &[0.5], 1, scale).unwrap()).unwrap();
    assert!(x.iter().all(|v| v.abs() < 1e-8) && (y.first().unwrap() - 0.5).abs() < 1e-8);
    let long = vec![0.0; ctx.slots() + 1];
    assert!(matches!(ctx.encode_complex(&re, &long, 1, scale), Err(CkksError::TooManyValues { .. })));
    let bad = ctx.encode_complex(&re, &[0.0, f64::NAN], 1, scale);
    assert!(matches!(bad, Err(CkksError::NotFinite { index: 1, .. })));
}

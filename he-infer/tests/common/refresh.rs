//! Inputs for bootstrapping.

use he_infer::ckks::{Ciphertext, Context, SecretKey, ToyParams, toy_deep};
use rand_chacha::ChaCha20Rng;

/// INSECURE parameters with three levels for each Fourier transform and `levels` for the application.
pub fn toy(log_n: u32, levels: usize) -> Context {
    Context::insecure(&ToyParams::new(toy_deep(log_n, levels)).unwrap()).unwrap()
}

/// Full-scale inputs that find different faults.
pub fn adversarial(slots: usize) -> Vec<(&'static str, Vec<f64>)> {
    let at = |f: &dyn Fn(usize) -> f64| (0..slots).map(f).collect::<Vec<f64>>();
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    vec![
        ("random", (0..slots).map(|_| random()).collect()),
        ("constant 1", at(&|_| 1.0)),
        ("constant -1", at(&|_| -1.0)),
        ("one-hot", at(&|i| f64::from(u8::from(i == 3)))),
        ("alternating", at(&|i| if i % 2 == 0 { 1.0 } else { -1.0 })),
        ("zero", at(&|_| 0.0)),
    ]
}

/// `re + i im` at the default scale.
pub fn encrypt(
    ctx: &Context,
    secret: &SecretKey,
    (re, im): (&[f64], &[f64]),
    level: usize,
    rng: &mut ChaCha20Rng,
) -> Ciphertext {
    let plain = ctx.encode_complex(re, im, level, ctx.default_scale()).unwrap();
    ctx.expand_ciphertext(&ctx.encrypt_symmetric(&plain, secret, rng).unwrap()).unwrap()
}

//! Linear maps on encrypted slots against the clear, on small INSECURE parameters.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use he_infer::ckks::{Context, Diagonals, Hoisting, KeySpec, ToyParams, TransformPlan, toy_deep};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

/// `sum_i d_i * rot_i(x)` on complex slots.
fn clear(m: &Diagonals, re: &[f64], im: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let n = re.len();
    let (mut real, mut imaginary) = (vec![0.0; n], vec![0.0; n]);
    for (i, (dr, di)) in m.diagonals.iter().enumerate().filter_map(|(i, d)| Some((i, d.as_ref()?))) {
        for j in 0..n {
            let (a, b, at) = (dr[j % dr.len()], di[j % di.len()], (j + i * m.stride) % n);
            real[j] += a * re[at] - b * im[at];
            imaginary[j] += a * im[at] + b * re[at];
        }
    }
    (real, imaginary)
}

#[test]
fn single_and_double_hoisting_give_the_clear_result_for_any_number_of_babies() {
    let ctx = Context::insecure(&ToyParams::new(toy_deep(10, 4)).unwrap()).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let secret = ctx.secret_key(&mut rng);
    let (re, im): (Vec<f64>, Vec<f64>) = (0..ctx.slots()).map(|i| (i as f64).sin_cos()).unzip();
    let scale = ctx.default_scale();
    // With holes, at a level of one digit and one of several, short periods (compact plaintexts) and full ones.
    for (level, period, stride, holes) in [(1, 512, 3, [2, 9]), (7, 16, 1, [0, 10]), (7, 512, 8, [4, 5])] {
        let diagonal = |i: usize| {
            let entry = |j: usize| (0.3 * (i * j + i) as f64).sin() / 4.0;
            let values: (Vec<f64>, Vec<f64>) = (0..period).map(|j| (entry(j), entry(j + 7))).unzip();
            (!holes.contains(&i)).then_some(values)
        };
        let matrix = Diagonals { stride, diagonals: (0..11).map(diagonal).collect() };
        let (want_re, want_im) = clear(&matrix, &re, &im);
        let plain = ctx.encode_complex(&re, &im, level, scale).unwrap();
        let x = ctx.expand_ciphertext(&ctx.encrypt_symmetric(&plain, &secret, &mut rng).unwrap()).unwrap();
        for hoisting in [Hoisting::Single, Hoisting::Double] {
            for babies in [1, 4, 16] {
                let plan = TransformPlan { babies, hoisting };
                let map = ctx.linear_transform(&matrix, level, scale, 2.0 * scale, plan).unwrap();
                let rotations = map.rotations();
                let planned = matrix.sparsity().rotations(plan, ctx.slots());
                assert_eq!(rotations.iter().map(|r| r.0).collect::<Vec<_>>(), planned, "{plan:?}");
                let keys = KeySpec { rotations, ..KeySpec::default() };
                let keys = ctx.eval_keys(&secret, &keys, &mut rng).unwrap();
                let y = ctx.apply_transform(&map, &x, &keys).unwrap();
                assert_eq!((y.level(), y.scale()), (level - 1, 2.0 * scale));
                let (real, imaginary) = ctx.decrypt_complex(&secret, &y).unwrap();
                let pairs = real.iter().zip(&want_re).chain(imaginary.iter().zip(&want_im));
                let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                // Scale 2^42 over noise of about 2^10 in the slots of this small ring.
                assert!(worst < 2f64.powi(-26), "level {level}, {plan:?}: {worst:e}");
            }
        }
    }
}

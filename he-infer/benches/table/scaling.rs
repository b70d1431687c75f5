//! What a second thread is worth: the same operation with one and with two, in turns, in one process.

use he_infer::bootstrap::{BootstrapParams, Bootstrapper};
use he_infer::ckks::{CkksParams, Context, KeyForm, KeySpec, d16};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use rayon::ThreadPoolBuilder;

use crate::common::{fresh, in_turns, inputs};

/// Rotate, multiply and bootstrap of D16.
pub fn scaling() {
    let [one, two] = [1, 2].map(|n| ThreadPoolBuilder::new().num_threads(n).build().unwrap());
    let ctx = Context::new(&CkksParams::new(d16()).unwrap()).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secret = ctx.secret_key(&mut rng);
    let (_, values) = inputs(ctx.slots()).swap_remove(0);
    println!("\n| D16, wall ms, median (shortest) | 1 thread | 2 threads | ratio |\n|---|---|---|---|");
    let turns = |name: &str, f: &(dyn Fn() + Sync)| {
        let [(a, a_min), (b, b_min)] = in_turns([&one, &two], f);
        println!(
            "| {name} | {a:.1} ({a_min:.1}) | {b:.1} ({b_min:.1}) | {:.2} ({:.2}) |",
            a / b,
            a_min / b_min
        );
    };
    let level = 24;
    let x = fresh(&ctx, &secret, &values, level, &mut rng);
    for form in [KeyForm::Expanded, KeyForm::Seeded] {
        let rotations = vec![(1, level)];
        let spec = KeySpec { relin_level: Some(level), rotations, form, ..KeySpec::default() };
        let keys = ctx.eval_keys(&secret, &spec, &mut rng).unwrap();
        turns(&format!("rotate, {form:?} keys"), &|| drop(ctx.rotate(&x, 1, &keys).unwrap()));
        turns(&format!("multiply + relinearise + rescale, {form:?} keys"), &|| {
            drop(ctx.mul_rescale(&x, &x, &keys).unwrap());
        });
    }
    let boot = Bootstrapper::new(&ctx, &BootstrapParams::d16()).unwrap();
    let keys = ctx.eval_keys(&secret, &boot.keys(), &mut rng).unwrap();
    let x = fresh(&ctx, &secret, &values, boot.input_level(), &mut rng);
    turns("bootstrap", &|| drop(boot.bootstrap(&x, &keys).unwrap()));
}

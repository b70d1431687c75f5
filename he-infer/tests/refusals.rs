//! What cannot be computed is refused with an error that names it: never a panic, never garbage.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]

mod common;

use std::sync::Arc;

use he_infer::HeError;
use he_infer::ckks::{
    Ciphertext, CkksError, CkksParams, Context, EvalKeys, KeySpec, SecretKey, ToyParams, s14, toy,
};
use he_infer::plan::{Bootstrapping, Packing, PlanOptions, plan};
use he_infer::run::Client;
use hetrain_export::RangeStats;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

struct Bench {
    ctx: Context,
    secret: SecretKey,
    keys: EvalKeys,
}

fn setup() -> Bench {
    let ctx = Context::insecure(&ToyParams::new(toy(7)).unwrap()).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secret = ctx.secret_key(&mut rng);
    let spec = KeySpec { relin_level: Some(2), rotations: vec![(1, 2)], ..KeySpec::default() };
    let keys = ctx.eval_keys(&secret, &spec, &mut rng).unwrap();
    Bench { ctx, secret, keys }
}

impl Bench {
    fn encrypt(&self, level: usize, scale: f64) -> Ciphertext {
        let plain = self.ctx.encode(&[0.5, -0.25], level, scale).unwrap();
        let fresh =
            self.ctx.encrypt_symmetric(&plain, &self.secret, &mut ChaCha20Rng::seed_from_u64(2)).unwrap();
        self.ctx.expand_ciphertext(&fresh).unwrap()
    }
}

/// The error of each expression matches its pattern and has something to say.
macro_rules! refused {
    ($($result:expr => $pattern:pat),+ $(,)?) => {
        $(match $result {
            Err($pattern) => {}
            Err(other) => unreachable!("{} gives: {other}", stringify!($result)),
            Ok(_) => unreachable!("{} is accepted", stringify!($result)),
        })+
    };
}

#[test]
fn numbers_that_cannot_be_encoded() {
    let ctx = setup().ctx;
    let scale = ctx.default_scale();
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        refused!(
            ctx.encode(&[0.0, bad], 1, scale) => CkksError::NotFinite { index: 1, .. },
            ctx.encode_mul(&[bad], 1, scale) => CkksError::NotFinite { index: 0, .. },
            ctx.encode_complex(&[0.0], &[bad], 1, scale) => CkksError::NotFinite { index: 0, .. },
            ctx.encode(&[1.0], 1, bad) => CkksError::BadScale { .. },
        );
    }
    // Too large for the modulus: at the scale, at any scale, and where even the product with the scale is infinite.
    for (value, scale) in [(1e6, scale), (f64::MAX, scale), (1.0, 2f64.powi(200)), (f64::MAX, f64::MAX)] {
        refused!(
            ctx.encode(&[value; 64], 0, scale) => CkksError::Overflow { level: 0, .. },
            ctx.encode_mul(&[value], 0, scale) => CkksError::Overflow { level: 0, .. },
        );
    }
    refused!(
        ctx.encode(&[1.0], 1, 0.5) => CkksError::BadScale { .. },
        ctx.encode(&[1.0], 8, scale) => CkksError::LevelTooHigh { level: 8, available: 7, .. },
        ctx.encode(&[0.0; 65], 1, scale) => CkksError::TooManyValues { given: 65, slots: 64, .. },
    );
}

#[test]
fn operands_that_do_not_fit() {
    let b = setup();
    let (ctx, scale) = (&b.ctx, b.ctx.default_scale());
    let (a, low, other) = (b.encrypt(2, scale), b.encrypt(1, scale), b.encrypt(2, 1.01 * scale));
    let high = b.encrypt(3, scale);
    let plain = ctx.encode(&[1.0], 1, scale).unwrap();
    let factor = ctx.encode_mul(&[1.0], 1, scale).unwrap();
    refused!(
        ctx.add(&a, &low) => CkksError::LevelMismatch { left: 2, right: 1, .. },
        ctx.sub(&a, &other) => CkksError::ScaleMismatch { .. },
        ctx.mul(&a, &low, &b.keys) => CkksError::LevelMismatch { .. },
        ctx.sum_of_products(&[(&a, &a), (&a, &other)], &b.keys) => CkksError::ScaleMismatch { .. },
        ctx.add_plain(&a, &plain) => CkksError::LevelTooHigh { .. },
        ctx.mul_plain(&a, &factor) => CkksError::LevelTooHigh { .. },
        ctx.add_const(&a, f64::NAN) => CkksError::NotFinite { .. },
        ctx.add_const(&a, 1e60) => CkksError::Overflow { .. },
        ctx.mul_const(&a, f64::INFINITY, 1.0) => CkksError::NotFinite { .. },
        ctx.rescale(&b.encrypt(0, scale)) => CkksError::NoLevelLeft { .. },
        ctx.drop_to_level(&low, 2) => CkksError::LevelTooHigh { .. },
        ctx.rotate(&a, 2, &b.keys) => CkksError::MissingKey { .. },
        ctx.rotate_many(&a, &[1, 5], &b.keys) => CkksError::MissingKey { .. },
        ctx.rotate(&high, 1, &b.keys) => CkksError::LevelTooHigh { level: 3, available: 2, .. },
        ctx.conjugate(&a, &b.keys) => CkksError::MissingKey { .. },
        ctx.square(&high, &b.keys) => CkksError::LevelTooHigh { .. },
    );
    let missing = ctx.rotate(&a, 2, &b.keys).err().unwrap().to_string();
    assert!(missing.contains("no rotation by 2 key") && missing.contains("KeySpec"), "{missing}");
    // Objects of another context.
    let far = Context::insecure(&ToyParams::new(toy(8)).unwrap()).unwrap();
    refused!(
        far.decrypt(&b.secret, &a) => CkksError::Foreign { .. },
        far.rotate(&a, 1, &b.keys) => CkksError::Foreign { .. },
        far.eval_keys(&b.secret, &KeySpec::default(), &mut ChaCha20Rng::seed_from_u64(1)) => CkksError::Foreign { .. },
    );
    let mut beyond = s14();
    beyond.log_n = 13;
    refused!(CkksParams::new(beyond) => CkksError::Insecure { log_n: 13, limit: 214, .. });
}

/// Message times scale stays below the modulus at every node, with the head-room of a factor of four, or there is no plan; and
/// an input beyond that room is refused when it is packed.
#[test]
fn messages_too_large_for_the_modulus() {
    let options = |packing| PlanOptions {
        packing,
        images: 1,
        precision_bits: 12,
        bootstrapping: Bootstrapping::Never,
        embedded: false,
    };
    for (graph, packing) in [
        (common::mlp().0, Packing::Image),
        (common::residual().0, Packing::Image),
        (common::mlp().0, Packing::Batch),
    ] {
        let program = plan(graph, options(packing)).unwrap();
        let log_q = |level: usize| {
            program.chain.primes().iter().take(level + 1).map(|q| (*q as f64).log2()).sum::<f64>()
        };
        for node in &program.nodes {
            let used = (node.scale * node.bound * 4.0).log2();
            assert!(used <= log_q(node.level), "{}: {used} bits of {}", node.name, log_q(node.level));
        }
        let program = Arc::new(program);
        let context = Arc::new(Context::new(&program.chain.params).unwrap());
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let client = Client::generate(Arc::clone(&program), context, &mut rng);
        let shape = program.graph.input_shape().iter().product();
        refused!(client.encrypt(&[vec![5.0; shape]], &mut rng) => HeError::TooLarge { index: 0, .. });
        refused!(client.encrypt(&[vec![f64::NAN; shape]], &mut rng) => HeError::NotFinite { index: 0, .. });
    }
    // A square whose result is far beyond what its operand announces: no scale can hold it.
    for max in [1e80, f64::INFINITY] {
        let mut graph = Arc::unwrap_or_clone(common::mlp().0);
        let ranges = graph.nodes().iter().map(|n| {
            let range = n.range.clone().unwrap();
            if n.name == "act3" { RangeStats { max, ..range } } else { range }
        });
        let ranges = ranges.collect();
        graph.set_ranges(ranges);
        let refused = plan(Arc::new(graph), options(Packing::Image)).err().unwrap();
        assert!(matches!(refused, HeError::TooDeep { .. }), "{refused}");
        assert!(refused.to_string().contains("no modulus chain fits"), "{refused}");
    }
}

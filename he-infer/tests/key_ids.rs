//! Two keys of one parameter set: every operation that would mix them says so, with both numbers.
#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use he_infer::HeError;
use he_infer::bootstrap::{BootstrapParams, Bootstrapper};
use he_infer::ckks::{
    Ciphertext, CkksError, Combination, Context, Diagonals, EvalKeys, Hoisting, KeyForm, KeyId, KeySpec,
    SecretKey, ToyParams, TransformPlan, toy, toy_deep,
};
use he_infer::wire;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

struct Owner {
    secret: SecretKey,
    keys: EvalKeys,
    ct: Ciphertext,
}

fn owner(ctx: &Context, seed: u64) -> Owner {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let secret = ctx.secret_key(&mut rng);
    let top = ctx.max_level();
    let spec = KeySpec {
        relin_level: Some(top),
        rotations: vec![(1, top), (2, top)],
        conjugation_level: Some(top),
        encapsulation: true,
        ..KeySpec::default()
    };
    let keys = ctx.eval_keys(&secret, &spec, &mut rng).unwrap();
    let plain = ctx.encode(&[0.5, -0.25], top, ctx.default_scale()).unwrap();
    let ct = ctx.encrypt_public(&plain, &ctx.public_key(&secret, &mut rng).unwrap(), &mut rng).unwrap();
    Owner { secret, keys, ct }
}

/// The results of all operations on ciphertexts `a` and `b` with `keys`.
fn all(ctx: &Context, a: &Ciphertext, b: &Ciphertext, keys: &EvalKeys) -> Vec<Result<Ciphertext, CkksError>> {
    let (top, scale) = (ctx.max_level(), ctx.default_scale());
    let q = ctx.modulus_at(top).unwrap() as f64;
    let square = scale * scale / q;
    let map =
        Diagonals { stride: 1, diagonals: vec![Some((vec![1.0], vec![0.0])), Some((vec![1.0], vec![0.0]))] };
    let map = [Hoisting::Single, Hoisting::Double].map(|hoisting| {
        ctx.linear_transform(&map, top, scale, scale, TransformPlan { babies: 2, hoisting }).unwrap()
    });
    let rows = vec![vec![(0, 1.0), (1, 1.0)]];
    let sum = |products, terms| Combination { times: 1, products, terms, constant: 0.0 };
    vec![
        ctx.add(a, b),
        ctx.sub(a, b),
        ctx.mul_rescale(a, b, keys),
        ctx.sum_of_products(&[(a, a), (a, b)], keys),
        ctx.combine(&sum(vec![(a, b)], vec![]), top, square, keys),
        ctx.combine(&sum(vec![(a, a)], vec![(b, 1.0)]), top, square, keys),
        ctx.combine(&sum(vec![], vec![(a, 1.0), (b, 1.0)]), top, scale, keys),
        ctx.matrix_const(&[a.clone(), b.clone()], &rows, q).map(|mut v| v.swap_remove(0)),
        ctx.rotate(b, 1, keys),
        ctx.rotate_many(b, &[1, 2], keys).map(|mut v| v.swap_remove(1)),
        ctx.decompose(b).and_then(|shared| ctx.rotate_decomposed(&shared, 2, keys)),
        ctx.conjugate(b, keys),
        ctx.apply_transform(&map[0], b, keys),
        ctx.apply_transform(&map[1], b, keys),
    ]
}

#[test]
fn keys_are_told_apart_by_every_operation() {
    let ctx = Context::insecure(&ToyParams::new(toy(7)).unwrap()).unwrap();
    let (mine, other) = (owner(&ctx, 1), owner(&ctx, 2));
    let ids = [mine.secret.key_id(), other.secret.key_id()];
    assert!(ids[0] != ids[1] && mine.ct.key_id() == ids[0] && mine.keys.key_id() == ids[0]);
    for result in all(&ctx, &mine.ct, &mine.ct, &mine.keys) {
        assert_eq!(result.unwrap().key_id(), ids[0], "the number is passed on");
    }
    let foreign = |e: CkksError| {
        assert!(matches!(e, CkksError::ForeignKey { .. }), "{e}");
        let text = e.to_string();
        assert!(ids.iter().all(|id| text.contains(&id.to_string())) && text.contains("help:"), "{text}");
    };
    for result in all(&ctx, &mine.ct, &other.ct, &mine.keys) {
        foreign(result.err().unwrap());
    }
    for result in all(&ctx, &mine.ct, &mine.ct, &other.keys).drain(2..6) {
        foreign(result.err().unwrap());
    }
    foreign(ctx.decrypt(&other.secret, &mine.ct).err().unwrap());
    foreign(mine.keys.check_owner("infer", &[mine.ct.clone(), other.ct.clone()]).err().unwrap());
}

#[test]
fn a_bootstrap_refuses_the_keys_of_another() {
    let ctx = Context::insecure(&ToyParams::new(toy_deep(10, 4)).unwrap()).unwrap();
    let boot = Bootstrapper::new(&ctx, &BootstrapParams::with_groups(vec![3, 3, 3], vec![3, 3, 3])).unwrap();
    let [(mine, keys), (_, other)] = [1, 2].map(|seed| {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let secret = ctx.secret_key(&mut rng);
        let keys = ctx.eval_keys(&secret, &boot.keys(), &mut rng).unwrap();
        let plain = ctx.encode(&[0.5], boot.input_level(), ctx.default_scale()).unwrap();
        let sent = ctx.encrypt_symmetric(&plain, &secret, &mut rng).unwrap();
        (ctx.expand_ciphertext(&sent).unwrap(), keys)
    });
    assert_eq!(boot.bootstrap(&mine, &keys).unwrap().key_id(), mine.key_id());
    let refused = boot.bootstrap(&mine, &other).err().unwrap();
    assert!(matches!(refused, HeError::Ckks(CkksError::ForeignKey { .. })), "{refused}");
}

#[test]
fn files_keep_the_number() {
    let ctx = Context::insecure(&ToyParams::new(toy(6)).unwrap()).unwrap();
    let mine = owner(&ctx, 3);
    let id: KeyId = mine.secret.key_id();
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let plain = ctx.encode(&[1.0], 1, ctx.default_scale()).unwrap();
    let seeded = ctx.encrypt_symmetric(&plain, &mine.secret, &mut rng).unwrap();
    let mut files: [Vec<u8>; 5] = Default::default();
    wire::write_secret_key(&mut files[0], &ctx, &mine.secret).unwrap();
    wire::write_public_key(&mut files[1], &ctx, &ctx.public_key(&mine.secret, &mut rng).unwrap()).unwrap();
    wire::write_eval_keys(&mut files[2], &ctx, &mine.keys).unwrap();
    wire::write_ciphertexts(&mut files[3], &ctx, &[mine.ct]).unwrap();
    wire::write_seeded_ciphertexts(&mut files[4], &ctx, &[seeded]).unwrap();
    let keys = wire::read_eval_keys(&files[2][..], &ctx, KeyForm::Expanded).unwrap();
    let seeded = wire::read_seeded_ciphertexts(&files[4][..], &ctx).unwrap().swap_remove(0);
    let seeded = ctx.expand_ciphertext(&seeded).unwrap();
    let found = [
        wire::read_secret_key(&files[0][..], &ctx).unwrap().key_id(),
        wire::read_public_key(&files[1][..], &ctx).unwrap().key_id(),
        keys.key_id(),
        wire::read_ciphertexts(&files[3][..], &ctx).unwrap()[0].key_id(),
        seeded.key_id(),
        ctx.square(&seeded, &keys).unwrap().key_id(),
    ];
    assert_eq!(found, [id; 6]);
}

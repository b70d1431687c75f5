//! Files: round trips, exact sizes, and errors on damaged or foreign data.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]

use he_infer::ckks::{CkksParams, Context, KeyForm, KeySpec, ToyParams, s13, s14, toy};
use he_infer::wire::{self, StoredParams, WireError};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};

fn context() -> Context {
    Context::insecure(&ToyParams::new(toy(7)).unwrap()).unwrap()
}

/// Every kind of object once, as bytes.
fn samples(ctx: &Context) -> Vec<Vec<u8>> {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let secret = ctx.secret_key(&mut rng);
    let spec = KeySpec {
        relin_level: Some(3),
        rotations: vec![(1, 2), (-5, 4)],
        conjugation_level: Some(0),
        encapsulation: true,
        ..KeySpec::default()
    };
    let keys = ctx.eval_keys(&secret, &spec, &mut rng).unwrap();
    let plain = ctx.encode(&[1.0, -2.0], 4, ctx.default_scale()).unwrap();
    let seeded = ctx.encrypt_symmetric(&plain, &secret, &mut rng).unwrap();
    let full = ctx.expand_ciphertext(&seeded).unwrap();
    let public = ctx.public_key(&secret, &mut rng).unwrap();
    let mut out = vec![Vec::new(); 6];
    wire::write_toy_params(&mut out[0], &ToyParams::new(toy(7)).unwrap()).unwrap();
    wire::write_secret_key(&mut out[1], ctx, &secret).unwrap();
    wire::write_public_key(&mut out[2], ctx, &public).unwrap();
    wire::write_eval_keys(&mut out[3], ctx, &keys).unwrap();
    wire::write_ciphertexts(&mut out[4], ctx, &[full.clone(), full]).unwrap();
    wire::write_seeded_ciphertexts(&mut out[5], ctx, &[seeded]).unwrap();
    assert_eq!(out[3].len() as u64, ctx.key_bytes(&spec).unwrap().stored);
    out
}

/// Try every reader; true if one accepts.
fn any_accepts(ctx: &Context, bytes: &[u8]) -> bool {
    wire::read_params(bytes).is_ok()
        | wire::read_secret_key(bytes, ctx).is_ok()
        | wire::read_public_key(bytes, ctx).is_ok()
        | wire::read_eval_keys(bytes, ctx, KeyForm::Expanded).is_ok()
        | wire::read_ciphertexts(bytes, ctx).is_ok()
        | wire::read_seeded_ciphertexts(bytes, ctx).is_ok()
}

#[test]
fn objects_work_after_a_round_trip() {
    let ctx = context();
    let files = samples(&ctx);
    let secret = wire::read_secret_key(&files[1][..], &ctx).unwrap();
    let public = wire::read_public_key(&files[2][..], &ctx).unwrap();
    let keys = wire::read_eval_keys(&files[3][..], &ctx, KeyForm::Expanded).unwrap();
    let full = wire::read_ciphertexts(&files[4][..], &ctx).unwrap();
    let seeded = wire::read_seeded_ciphertexts(&files[5][..], &ctx).unwrap();
    assert_eq!((full.len(), seeded.len()), (2, 1));
    let close = |ct, want: [f64; 2]| {
        let v = ctx.decrypt(&secret, &ct).unwrap();
        assert!((v[0] - want[0]).abs() < 1e-6 && (v[1] - want[1]).abs() < 1e-6, "{:?}", &v[..2]);
    };
    close(full[1].clone(), [1.0, -2.0]);
    close(ctx.expand_ciphertext(&seeded[0]).unwrap(), [1.0, -2.0]);
    let low = ctx.drop_to_level(&full[0], 2).unwrap();
    close(ctx.rotate(&low, 1, &keys).unwrap(), [-2.0, 0.0]);
    close(ctx.square(&low, &keys).unwrap(), [1.0, 4.0]);
    close(ctx.conjugate(&ctx.drop_to_level(&low, 0).unwrap(), &keys).unwrap(), [1.0, -2.0]);
    let plain = ctx.encode(&[3.0], 4, ctx.default_scale()).unwrap();
    close(ctx.encrypt_public(&plain, &public, &mut ChaCha20Rng::seed_from_u64(1)).unwrap(), [3.0, 0.0]);
    let mut secure = Vec::new();
    let params = CkksParams::new(s13()).unwrap();
    wire::write_params(&mut secure, &params).unwrap();
    assert_eq!(wire::read_params(&secure[..]).unwrap(), StoredParams::Secure(params));
    assert!(matches!(wire::read_params(&files[0][..]).unwrap(), StoredParams::Toy(_)));
}

/// The error of every reader on the file of its kind, changed.
fn errors(files: &[Vec<u8>], ctx: &Context, change: impl Fn(&mut Vec<u8>)) -> Vec<WireError> {
    let file = |kind: usize| {
        let mut b = files[kind].clone();
        change(&mut b);
        b
    };
    vec![
        wire::read_params(&file(0)[..]).err().unwrap(),
        wire::read_secret_key(&file(1)[..], ctx).err().unwrap(),
        wire::read_public_key(&file(2)[..], ctx).err().unwrap(),
        wire::read_eval_keys(&file(3)[..], ctx, KeyForm::Expanded).err().unwrap(),
        wire::read_ciphertexts(&file(4)[..], ctx).err().unwrap(),
        wire::read_seeded_ciphertexts(&file(5)[..], ctx).err().unwrap(),
    ]
}

#[test]
fn every_kind_of_file_is_refused_for_the_same_reasons() {
    let ctx = context();
    let files = samples(&ctx);
    let far = Context::insecure(&ToyParams::new(toy(8)).unwrap()).unwrap();
    // Parameters are checked against nothing but themselves.
    let kinds = |e: Vec<WireError>, skip: usize, expected: fn(&WireError) -> bool| {
        assert!(e.iter().skip(skip).all(expected), "{e:?}");
    };
    kinds(errors(&files, &ctx, |b| b[8] = 6), 0, |e| {
        matches!(e, WireError::NewerVersion { found: 6, supported: 5 })
    });
    kinds(errors(&files, &ctx, |b| b[8] = 2), 1, |e| {
        matches!(e, WireError::OlderVersion { found: 2, oldest: 3..=5, .. })
    });
    kinds(errors(&files, &far, |b| b[20] ^= 1), 1, |e| matches!(e, WireError::OtherParameters { .. }));
    kinds(errors(&files, &far, |b| b[10] = 7 - b[10]), 0, |e| matches!(e, WireError::WrongObject { .. }));
    kinds(errors(&files, &ctx, |b| b.truncate(b.len() - 1)), 0, |e| matches!(e, WireError::Truncated));
    kinds(errors(&files, &ctx, |b| b.truncate(60)), 0, |e| matches!(e, WireError::Truncated));
    kinds(errors(&files, &ctx, |b| b[48] ^= 1), 0, |e| {
        matches!(e, WireError::Corrupt { .. } | WireError::Truncated)
    });
    kinds(errors(&files, &ctx, |b| b[55] = 1), 0, |e| matches!(e, WireError::Corrupt { .. }));
    let last = |b: &mut Vec<u8>| *b.last_mut().unwrap() ^= 1;
    kinds(errors(&files, &ctx, last), 0, |e| {
        matches!(e, WireError::Corrupt { detail: "checksum does not agree" })
    });
}

#[test]
fn each_fault_has_its_own_error() {
    let ctx = context();
    let good = &samples(&ctx)[4];
    let read = |bytes: &[u8]| wire::read_ciphertexts(bytes, &ctx).err().unwrap();
    let changed = |at: usize, to: u8| {
        let mut b = good.clone();
        b[at] = to;
        b
    };
    assert!(matches!(read(&changed(0, b'X')), WireError::NotOurs));
    assert!(matches!(read(&changed(8, 9)), WireError::NewerVersion { found: 9, .. }));
    // Parameters of every version are read (here the checksum tells); residues are packed since version 4.
    let mut old = samples(&ctx).swap_remove(0);
    old[8] = 1;
    assert!(matches!(
        wire::read_params(&old[..]),
        Err(WireError::Corrupt { detail: "checksum does not agree" })
    ));
    // What evaluation keys hold changed with version 5, what ciphertexts hold did not.
    let mut old = samples(&ctx).swap_remove(3);
    old[8] = 4;
    let refused = wire::read_eval_keys(&old[..], &ctx, KeyForm::Expanded).err().unwrap();
    assert!(matches!(refused, WireError::OlderVersion { found: 4, oldest: 5, .. }), "{refused}");
    assert!(matches!(read(&changed(8, 4)), WireError::Corrupt { detail: "checksum does not agree" }));
    for version in [1, 2, 3] {
        let refused = read(&changed(8, version));
        assert!(matches!(refused, WireError::OlderVersion { oldest: 4, .. }), "{refused}");
    }
    assert!(matches!(read(&changed(10, 4)), WireError::WrongObject { .. }));
    assert!(matches!(read(&good[..good.len() - 1]), WireError::Truncated));
    assert!(matches!(read(&changed(100, !good[100])), WireError::Corrupt { .. }));
    let mut other = toy(7);
    other.default_scale *= 2.0;
    let other = Context::insecure(&ToyParams::new(other).unwrap()).unwrap();
    assert!(matches!(
        wire::read_ciphertexts(&good[..], &other).err(),
        Some(WireError::OtherParameters { .. })
    ));
    // Parameters that claim to be secure without being so are refused.
    let mut file = Vec::new();
    wire::write_toy_params(
        &mut file,
        &ToyParams::new({
            let mut p = s14();
            p.log_n = 13;
            p
        })
        .unwrap(),
    )
    .unwrap();
    file[56] = 1;
    assert!(wire::read_params(&file[..]).is_err());
}

/// Found by fuzzing: what is not written in the one order of the writer is refused, and wrong counts are noticed at once.
#[test]
fn evaluation_keys_have_one_order_and_their_count() {
    let ctx = context();
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let secret = ctx.secret_key(&mut rng);
    let spec = KeySpec { rotations: vec![(1, 0), (2, 0)], ..KeySpec::default() };
    let mut file = Vec::new();
    wire::write_eval_keys(&mut file, &ctx, &ctx.eval_keys(&secret, &spec, &mut rng).unwrap()).unwrap();
    let signed = |payload: &[u8]| {
        let mut b = [&file[..68], payload].concat();
        b.extend(&Sha256::digest(&b)[..16]);
        b
    };
    let (first, second) = file[68..file.len() - 16].split_at((file.len() - 84) / 2);
    assert_eq!(signed(&[first, second].concat()), file);
    for bad in [[second, first], [first, first]] {
        let refused =
            wire::read_eval_keys(&signed(&bad.concat())[..], &ctx, KeyForm::Expanded).err().unwrap();
        assert!(refused.to_string().contains("repeated or out of order"), "{refused}");
    }
    let mut count = file.clone();
    count[64..68].copy_from_slice(&(1u32 << 30).to_le_bytes());
    let refused = wire::read_eval_keys(&count[..], &ctx, KeyForm::Expanded).err().unwrap();
    assert!(refused.to_string().contains("shorter than its content"), "{refused}");
}

/// Half of each key can be kept as a seed, of which many tiles are made: the same bytes in results and files.
#[test]
fn seeded_keys_compute_the_same_and_are_stored_the_same() {
    let ctx = Context::insecure(&ToyParams::new(toy(12)).unwrap()).unwrap();
    let spec = |form| KeySpec { relin_level: Some(4), rotations: vec![(3, 5)], form, ..KeySpec::default() };
    let results = [KeyForm::Expanded, KeyForm::Seeded].map(|form| {
        let mut rng = ChaCha20Rng::seed_from_u64(9);
        let secret = ctx.secret_key(&mut rng);
        let keys = ctx.eval_keys(&secret, &spec(form), &mut rng).unwrap();
        let mut file = Vec::new();
        wire::write_eval_keys(&mut file, &ctx, &keys).unwrap();
        let plain = ctx.encode(&[0.5, -0.25], 4, ctx.default_scale()).unwrap();
        let x = ctx.expand_ciphertext(&ctx.encrypt_symmetric(&plain, &secret, &mut rng).unwrap()).unwrap();
        let read = wire::read_eval_keys(&file[..], &ctx, form).unwrap();
        assert_eq!(read.spec(), spec(form));
        let (mut made, mut again) = (Vec::new(), Vec::new());
        for (keys, out) in [(&keys, &mut made), (&read, &mut again)] {
            let all = [ctx.rotate(&x, 3, keys).unwrap(), ctx.mul_rescale(&x, &x, keys).unwrap()];
            wire::write_ciphertexts(&mut *out, &ctx, &all).unwrap();
            wire::write_eval_keys(&mut *out, &ctx, keys).unwrap();
        }
        assert!(made == again);
        (file, made)
    });
    assert!(results[0] == results[1]);
    let memory = |form| ctx.key_bytes(&spec(form)).unwrap().memory;
    assert_eq!(memory(KeyForm::Expanded), 2 * memory(KeyForm::Seeded));
}

/// Code that runs on the server must not know of secret keys: outside comments the word does not occur.
#[test]
fn server_code_names_no_secret() {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<_> = ["run/server.rs", "run/executor.rs"].map(|f| src.join(f)).to_vec();
    // All but what the client alone calls, names the types, or documents.
    let client = ["encrypt.rs", "keygen.rs", "keys.rs", "mod.rs", "error.rs"];
    for folder in ["ckks", "bootstrap", "kernels", "kernels/polynomial", "slots"] {
        let found = std::fs::read_dir(src.join(folder)).unwrap().map(|f| f.unwrap().path());
        let found = found.filter(|f| f.extension().is_some_and(|e| e == "rs"));
        let skip = |f: &std::path::Path| {
            let tests = f.ends_with("tests.rs") || f.ends_with("circuits.rs");
            tests || folder == "ckks" && client.iter().any(|c| f.ends_with(c))
        };
        files.extend(found.filter(|f| !skip(f)));
    }
    assert!(files.len() > 30);
    for file in files {
        for line in
            std::fs::read_to_string(&file).unwrap().lines().filter(|l| !l.trim_start().starts_with("//"))
        {
            assert!(!line.to_lowercase().contains("secret") && !line.contains("ckks::*"), "{file:?}: {line}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_files_are_refused_without_panic(kind in 0usize..6, at in any::<u32>(), bit in 0u8..8, cut in any::<u32>()) {
        let ctx = context();
        let good = samples(&ctx).swap_remove(kind);
        prop_assert!(any_accepts(&ctx, &good));
        let mut flipped = good.clone();
        flipped[at as usize % good.len()] ^= 1 << bit;
        prop_assert!(!any_accepts(&ctx, &flipped));
        prop_assert!(!any_accepts(&ctx, &good[..cut as usize % good.len()]));
    }

    #[test]
    fn arbitrary_bytes_never_panic(kind in 1u8..8, tail in proptest::collection::vec(any::<u8>(), 0..400), len in any::<u64>()) {
        let ctx = context();
        let mut bytes = b"HETRCKKS\x04\x00".to_vec();
        bytes.extend([kind, 0, 0, 0, 0, 0]);
        bytes.extend(ctx.digest());
        bytes.extend(len.to_le_bytes());
        bytes.extend(&tail);
        prop_assert!(!any_accepts(&ctx, &bytes) && !any_accepts(&ctx, &tail));
    }
}

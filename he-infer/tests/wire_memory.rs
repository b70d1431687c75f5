//! Files that lie about their size: every decoder refuses them before it takes memory for what is not there.

use he_infer::ckks::{Context, KeyForm, KeySpec, ToyParams, toy};
use he_infer::wire;
use peak_alloc::PeakAlloc;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

#[test]
fn announced_sizes_are_not_believed() {
    let ctx = Context::insecure(&ToyParams::new(toy(7)).unwrap()).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let secret = ctx.secret_key(&mut rng);
    let spec = KeySpec { relin_level: Some(ctx.max_level()), ..KeySpec::default() };
    let keys = ctx.eval_keys(&secret, &spec, &mut rng).unwrap();
    let plain = ctx.encode(&[1.0], ctx.max_level(), ctx.default_scale()).unwrap();
    let seeded = ctx.encrypt_symmetric(&plain, &secret, &mut rng).unwrap();
    let mut files = vec![Vec::new(); 6];
    wire::write_toy_params(&mut files[0], &ToyParams::new(toy(7)).unwrap()).unwrap();
    wire::write_secret_key(&mut files[1], &ctx, &secret).unwrap();
    wire::write_public_key(&mut files[2], &ctx, &ctx.public_key(&secret, &mut rng).unwrap()).unwrap();
    wire::write_eval_keys(&mut files[3], &ctx, &keys).unwrap();
    wire::write_ciphertexts(&mut files[4], &ctx, &[ctx.expand_ciphertext(&seeded).unwrap()]).unwrap();
    wire::write_seeded_ciphertexts(&mut files[5], &ctx, &[seeded]).unwrap();
    // What a reader believes is bounded by what it has read: the bytes there are, and one object of these parameters more (the
    // largest is a key). The file says that it holds 2^60 bytes and 2^32 - 1 elements.
    let largest = ctx.key_bytes(&spec).unwrap().memory as usize;
    for (kind, file) in files.iter().enumerate() {
        let mut lie = file.clone();
        lie[48..56].copy_from_slice(&(1u64 << 60).to_le_bytes());
        // Where the counts are: after the key's number in evaluation keys, first in lists and parameters.
        for (at, value) in [(56, u32::MAX), (64, u32::MAX), (68, 1 << 30), (56, 1 << 20), (64, 1 << 20)] {
            for cut in [lie.len(), 72] {
                let mut lie = lie.clone();
                lie[at..at + 4].copy_from_slice(&value.to_le_bytes());
                let bytes = &lie[..cut];
                let before = MEMORY.current_usage();
                MEMORY.reset_peak_usage();
                let refused = wire::read_params(bytes).is_err()
                    & wire::read_secret_key(bytes, &ctx).is_err()
                    & wire::read_public_key(bytes, &ctx).is_err()
                    & wire::read_eval_keys(bytes, &ctx, KeyForm::Expanded).is_err()
                    & wire::read_ciphertexts(bytes, &ctx).is_err()
                    & wire::read_seeded_ciphertexts(bytes, &ctx).is_err();
                let taken = MEMORY.peak_usage().saturating_sub(before);
                assert!(
                    refused && taken <= 2 * largest + (64 << 10),
                    "kind {kind}, {value} at {at}: {taken} bytes"
                );
            }
        }
    }
}

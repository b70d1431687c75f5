//! Files that lie about their size: every decoder refuses them before it takes memory for what is not there.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use he_infer::ckks::{Context, KeyForm, KeySpec, ToyParams, toy};
use he_infer::wire;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

/// Keeps the largest single request.
struct Largest;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system allocator unchanged; only a number is kept beside it.
unsafe impl GlobalAlloc for Largest {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Largest = Largest;

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
    // No single object of these parameters takes more; the file says that it holds 2^60 bytes and 2^32 - 1 elements.
    let largest = ctx.key_bytes(&spec).unwrap().memory as usize + 4096;
    for (kind, file) in files.iter().enumerate() {
        let mut lie = file.clone();
        lie[48..56].copy_from_slice(&(1u64 << 60).to_le_bytes());
        // Where the counts are: after the key's number in evaluation keys, first in lists and parameters.
        for (at, value) in [(56, u32::MAX), (64, u32::MAX), (68, 1 << 30), (56, 1 << 20), (64, 1 << 20)] {
            for cut in [lie.len(), 72] {
                let mut lie = lie.clone();
                lie[at..at + 4].copy_from_slice(&value.to_le_bytes());
                let bytes = &lie[..cut];
                LARGEST.store(0, Relaxed);
                let refused = wire::read_params(bytes).is_err()
                    & wire::read_secret_key(bytes, &ctx).is_err()
                    & wire::read_public_key(bytes, &ctx).is_err()
                    & wire::read_eval_keys(bytes, &ctx, KeyForm::Expanded).is_err()
                    & wire::read_ciphertexts(bytes, &ctx).is_err()
                    & wire::read_seeded_ciphertexts(bytes, &ctx).is_err();
                let taken = LARGEST.load(Relaxed);
                assert!(refused && taken <= largest, "kind {kind}, {value} at {at}: {taken} bytes at once");
            }
        }
    }
}

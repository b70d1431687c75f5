//! Fuzzing of every file decoder on stable Rust, with mutations that know the format.
//!
//! ```text
//! cargo run --release -p he-infer --example fuzz_wire -- [--seconds N] [--seed S] [--decoder NAME] [--keep DIR]
//! cargo run --release -p he-infer --example fuzz_wire -- --replay FILE...
//! ```
//! Failures are: a panic; memory above what the input's length and one object of the parameters justify; an accepted input that
//! is written back differently; a panic while an accepted object is used. A failing input is kept in DIR and ends the run
//! with status 1. Most mutated inputs get their payload length and checksum repaired, so that they reach the decoders.
#![expect(clippy::indexing_slicing, reason = "a tool that stops at the first surprise")]

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use he_infer::ckks::{CkksError, Context, EvalKeys, KeyForm, KeyId, KeySpec, SecretKey, ToyParams, toy};
use he_infer::wire::{self, StoredParams, WireError};
use peak_alloc::PeakAlloc;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const HEADER: usize = 56;
const CHECKSUM: usize = 16;
const NAMES: [&str; 6] = ["params", "secret-key", "public-key", "eval-keys", "ciphertexts", "seeded"];

type Failure = Box<dyn std::error::Error>;

struct Fuzzer {
    ctx: Context,
    secret: SecretKey,
    keys: EvalKeys,
    /// Valid files of each kind.
    corpus: [Vec<Vec<u8>>; 6],
    /// Most memory one object needs, in the form it has in memory.
    largest: usize,
}

/// Gives out few bytes at a time and is interrupted now and then.
struct Dribble<'a> {
    rest: &'a [u8],
    step: usize,
    interrupt: bool,
}

impl Read for Dribble<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt && self.step < 64 {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        let most = out.len().min(self.step);
        self.rest.read(&mut out[..most])
    }
}

impl Fuzzer {
    fn new() -> Result<Self, Failure> {
        let params = ToyParams::new(toy(6))?;
        let ctx = Context::insecure(&params)?;
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let secret = ctx.secret_key(&mut rng);
        let top = ctx.max_level();
        let spec = |relin, rotations: &[(i32, usize)], conjugation| KeySpec {
            relin_level: relin,
            rotations: rotations.to_vec(),
            conjugation_level: conjugation,
            encapsulation: conjugation.is_some(),
            ..KeySpec::default()
        };
        let full = ctx.eval_keys(&secret, &spec(Some(top), &[(1, top), (-3, 2)], Some(1)), &mut rng)?;
        let mut corpus: [Vec<Vec<u8>>; 6] = Default::default();
        let mut kept = Vec::new();
        wire::write_toy_params(&mut kept, &params)?;
        corpus[0].push(kept);
        let mut file = Vec::new();
        wire::write_secret_key(&mut file, &ctx, &secret)?;
        corpus[1].push(file);
        let mut file = Vec::new();
        wire::write_public_key(&mut file, &ctx, &ctx.public_key(&secret, &mut rng)?)?;
        corpus[2].push(file);
        for spec in
            [spec(None, &[], None), spec(Some(0), &[(2, 1)], None), spec(None, &[(1, 0), (2, 0)], Some(0))]
        {
            let mut file = Vec::new();
            wire::write_eval_keys(&mut file, &ctx, &ctx.eval_keys(&secret, &spec, &mut rng)?)?;
            corpus[3].push(file);
        }
        let mut file = Vec::new();
        wire::write_eval_keys(&mut file, &ctx, &full)?;
        corpus[3].push(file);
        let mut seeded = Vec::new();
        for level in [0, 1, top] {
            let plain = ctx.encode(&[1.0, -0.5, 0.25], level, ctx.default_scale())?;
            seeded.push(ctx.encrypt_symmetric(&plain, &secret, &mut rng)?);
        }
        for count in [0, 1, 3] {
            let list = &seeded[..count];
            let mut file = Vec::new();
            wire::write_seeded_ciphertexts(&mut file, &ctx, list)?;
            corpus[5].push(file);
            let list = list.iter().map(|c| ctx.expand_ciphertext(c)).collect::<Result<Vec<_>, _>>()?;
            let mut file = Vec::new();
            wire::write_ciphertexts(&mut file, &ctx, &list)?;
            corpus[4].push(file);
        }
        let one = ctx.key_bytes(&spec(Some(top), &[], None))?.memory;
        Ok(Self { ctx, secret, keys: full, corpus, largest: one as usize })
    }

    /// Decode `bytes` as object `kind`, use what comes out and write it back; `None` if it was refused.
    fn decode(&self, kind: usize, bytes: &[u8], step: usize) -> Result<Option<Vec<u8>>, Failure> {
        let input = Dribble { rest: bytes, step, interrupt: true };
        let mut out = Vec::new();
        let ctx = &self.ctx;
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let refused = |e: WireError| drop(e.to_string());
        // The limit is checked for refused inputs too; an accepted one is used afterwards.
        let check = || {
            let limit = 3 * bytes.len() + self.largest + (64 << 10);
            let used = MEMORY.peak_usage().saturating_sub(before);
            if used > limit {
                Err(format!("{used} bytes of memory for {} of input", bytes.len()))
            } else {
                Ok(())
            }
        };
        macro_rules! accepted {
            ($result:expr) => {{
                let result = $result;
                check()?;
                match result {
                    Ok(object) => object,
                    Err(error) => {
                        refused(error);
                        return Ok(None);
                    }
                }
            }};
        }
        match kind {
            0 => match accepted!(wire::read_params(input)) {
                StoredParams::Toy(p) => wire::write_toy_params(&mut out, &p)?,
                StoredParams::Secure(p) => wire::write_params(&mut out, &p)?,
            },
            1 => {
                let key = accepted!(wire::read_secret_key(input, ctx));
                ctx.public_key(&key, &mut ChaCha20Rng::seed_from_u64(0))?;
                wire::write_secret_key(&mut out, ctx, &key)?;
            }
            2 => {
                let key = accepted!(wire::read_public_key(input, ctx));
                let plain = ctx.encode(&[1.0], 0, ctx.default_scale())?;
                ctx.encrypt_public(&plain, &key, &mut ChaCha20Rng::seed_from_u64(0))?;
                wire::write_public_key(&mut out, ctx, &key)?;
            }
            3 => {
                let keys = accepted!(wire::read_eval_keys(input, ctx, KeyForm::Expanded));
                let ct = wire::read_ciphertexts(&self.corpus[4][1][..], ctx)?.swap_remove(0);
                let owner = keys.check_owner("fuzz", std::slice::from_ref(&ct));
                let mine = self.is_mine(keys.key_id(), owner)?;
                let spec = if mine { keys.spec() } else { KeySpec::default() };
                for (step, _) in &spec.rotations {
                    ctx.rotate(&ct, *step, &keys)?;
                }
                if spec.relin_level.is_some() {
                    ctx.square(&ct, &keys)?;
                }
                if spec.conjugation_level.is_some() {
                    ctx.conjugate(&ct, &keys)?;
                }
                wire::write_eval_keys(&mut out, ctx, &keys)?;
            }
            4 => {
                let list = accepted!(wire::read_ciphertexts(input, ctx));
                for ct in &list {
                    // Errors are allowed here, for example for scales that no longer fit.
                    drop(ctx.square_rescale(ct, &self.keys));
                    drop(ctx.rotate(ct, 1, &self.keys));
                    self.is_mine(ct.key_id(), ctx.decrypt(&self.secret, ct).map(drop))?;
                }
                wire::write_ciphertexts(&mut out, ctx, &list)?;
            }
            _ => {
                let list = accepted!(wire::read_seeded_ciphertexts(input, ctx));
                for ct in &list {
                    let ct = ctx.expand_ciphertext(ct)?;
                    self.is_mine(ct.key_id(), ctx.decrypt(&self.secret, &ct).map(drop))?;
                }
                wire::write_seeded_ciphertexts(&mut out, ctx, &list)?;
            }
        }
        Ok(Some(out))
    }

    /// Whether an object that names `key` is of the one secret key; `result` of using it with that key must agree.
    fn is_mine(&self, key: KeyId, result: Result<(), CkksError>) -> Result<bool, Failure> {
        match (key == self.secret.key_id(), result) {
            (true, Ok(())) => Ok(true),
            (false, Err(CkksError::ForeignKey { .. })) => Ok(false),
            (_, result) => Err(format!("key {key} gives {result:?}").into()),
        }
    }

    /// Why `bytes` is a failure of decoder `kind`, if it is one; otherwise whether it was accepted.
    fn run(&self, kind: usize, bytes: &[u8], step: usize) -> Result<bool, String> {
        match catch_unwind(AssertUnwindSafe(|| self.decode(kind, bytes, step))) {
            Err(_) => Err("panic".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(None)) => Ok(false),
            // An older version is written back as the present one, with another checksum.
            Ok(Ok(Some(out))) => {
                let body = |b: &[u8]| [&b[..8], &b[10..out.len().min(b.len()) - CHECKSUM]].concat();
                if body(&out) == body(bytes) { Ok(true) } else { Err("written back differently".to_owned()) }
            }
        }
    }

    fn mutate(&self, kind: usize, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let files = &self.corpus[kind];
        let mut b = files[below(rng, files.len())].clone();
        for _ in 0..1 + below(rng, 4) {
            self.mutate_once(kind, &mut b, rng);
        }
        if below(rng, 8) > 0 && b.len() >= HEADER + CHECKSUM {
            let payload = (b.len() - HEADER - CHECKSUM) as u64;
            b[48..56].copy_from_slice(&payload.to_le_bytes());
        }
        if below(rng, 16) > 0 && b.len() >= HEADER + CHECKSUM {
            let end = b.len() - CHECKSUM;
            let sum = Sha256::digest(&b[..end]);
            b[end..].copy_from_slice(&sum[..CHECKSUM]);
        }
        b
    }

    fn mutate_once(&self, kind: usize, b: &mut Vec<u8>, rng: &mut ChaCha20Rng) {
        if b.is_empty() {
            b.push(0);
        }
        let at = below(rng, b.len());
        // Fields stand at multiples of four from the start, most of them early in the payload or after a whole object.
        let field = HEADER + 4 * below(rng, 24);
        let magnitude = below(rng, 12);
        let len = 1 + below(rng, 1 << magnitude);
        let to = (at + len).min(b.len());
        match below(rng, 14) {
            0 => b[at] ^= 1 << below(rng, 8),
            1 => b.truncate(at),
            2 => b.truncate(b.len() - below(rng, 20).min(b.len())),
            3 => put(b, 8 + below(rng, 48), &interesting(rng).to_le_bytes()[..1 + below(rng, 8)]),
            4 | 5 => put(b, field, &(interesting(rng) as u32).to_le_bytes()),
            6 => put(b, field, &interesting(rng).to_le_bytes()),
            7 => {
                let scales = [0.0, -1.0, 1.0, 0.999, f64::NAN, f64::INFINITY, 1e308, 5e-324, 2f64.powi(200)];
                put(b, HEADER + 4 * below(rng, 6), &scales[below(rng, scales.len())].to_le_bytes());
            }
            8 => {
                // A residue at or near one of the primes.
                let (q, p) = (&self.ctx.literal().q, &self.ctx.literal().p);
                let prime = if below(rng, 4) == 0 { p[below(rng, p.len())] } else { q[below(rng, q.len())] };
                let word = prime.wrapping_add(below(rng, 3) as u64).wrapping_sub(1);
                put(b, at & !3, &word.to_le_bytes());
            }
            9 => drop(b.drain(at..to)),
            10 => {
                // Repeat a piece: elements of lists, keys, parts of them.
                let piece = b[at..to].to_vec();
                let place = below(rng, b.len() + 1);
                b.splice(place..place, piece);
            }
            11 => {
                // Splice with another file, of the same kind or any.
                let other = if below(rng, 2) == 0 { kind } else { below(rng, 6) };
                let files = &self.corpus[other];
                let file = &files[below(rng, files.len())];
                let from = below(rng, file.len());
                b.truncate(at);
                b.extend_from_slice(&file[if below(rng, 2) == 0 { at.min(from) } else { from }..]);
            }
            12 => {
                let fill = [0, 0xff, 0x7f, 0x80][below(rng, 4)];
                b[at..to].fill(fill);
            }
            _ => b.extend(std::iter::repeat_n(rng.next_u32() as u8, len)),
        }
    }
}

fn put(b: &mut [u8], at: usize, bytes: &[u8]) {
    for (o, x) in b.iter_mut().skip(at).zip(bytes) {
        *o = *x;
    }
}

fn below(rng: &mut ChaCha20Rng, n: usize) -> usize {
    (rng.next_u64() % n.max(1) as u64) as usize
}

/// Numbers near the limits that decoders compare with.
fn interesting(rng: &mut ChaCha20Rng) -> u64 {
    let small = [0, 1, 2, 6, 7, 8, 31, 32, 33, 63, 64, 65];
    let powers = [17, 20, 31, 32, 50, 61, 63];
    match below(rng, 4) {
        0 => rng.next_u64() >> below(rng, 64),
        1 => u64::MAX - below(rng, 4) as u64,
        2 => small[below(rng, small.len())],
        _ => (1u64 << powers[below(rng, powers.len())]) + below(rng, 3) as u64 - 1,
    }
}

fn main() -> Result<ExitCode, Failure> {
    let (mut seconds, mut seed, mut only, mut keep) = (10u64, 1u64, None, "fuzz-failures".to_owned());
    let mut replay = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--seconds" => seconds = value()?.parse()?,
            "--seed" => seed = value()?.parse()?,
            "--keep" => keep = value()?,
            "--decoder" => {
                let name = value()?;
                only = Some(NAMES.iter().position(|n| *n == name).ok_or(format!("one of {NAMES:?}"))?);
            }
            "--replay" => replay.extend(args.by_ref()),
            _ => return Err(format!("unknown argument {arg}").into()),
        }
    }
    let fuzzer = Fuzzer::new()?;
    for path in &replay {
        let bytes = std::fs::read(path)?;
        for (kind, name) in NAMES.iter().enumerate() {
            println!("{path}: {name}: {:?}", fuzzer.run(kind, &bytes, usize::MAX));
        }
    }
    if !replay.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let kinds: Vec<usize> = only.map_or((0..6).collect(), |k| vec![k]);
    let share = Duration::from_secs(seconds) / kinds.len() as u32;
    let mut failed = false;
    for kind in kinds {
        let mut rng = ChaCha20Rng::seed_from_u64(seed.wrapping_mul(8) + kind as u64);
        for file in &fuzzer.corpus[kind] {
            assert!(
                fuzzer.run(kind, file, usize::MAX) == Ok(true),
                "{}: the unchanged file fails",
                NAMES[kind]
            );
        }
        let (start, mut inputs, mut accepted) = (Instant::now(), 0u64, 0u64);
        while start.elapsed() < share {
            let bytes = fuzzer.mutate(kind, &mut rng);
            let step = if below(&mut rng, 8) == 0 { 1 + below(&mut rng, 100) } else { usize::MAX };
            inputs += 1;
            match fuzzer.run(kind, &bytes, step) {
                Ok(taken) => accepted += u64::from(taken),
                Err(why) => {
                    std::fs::create_dir_all(&keep)?;
                    let path = format!("{keep}/{}-{seed}-{inputs}", NAMES[kind]);
                    std::fs::write(&path, &bytes)?;
                    eprintln!("{}: {why}; input kept in {path}", NAMES[kind]);
                    failed = true;
                    break;
                }
            }
        }
        println!("{}: {inputs} inputs, {accepted} accepted, {:?}", NAMES[kind], start.elapsed());
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

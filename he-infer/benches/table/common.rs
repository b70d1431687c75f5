//! The clock, and what is encrypted.

use std::hint::black_box;
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use he_infer::ckks::{Ciphertext, Context, SecretKey};
use rand_chacha::ChaCha20Rng;

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

/// Median CPU and wall milliseconds of at least seven runs and half a second.
pub fn measure<T>(mut f: impl FnMut() -> T) -> (f64, f64) {
    black_box(f());
    let (mut busy, mut wall) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    while busy.len() < 7 || begun.elapsed() < Duration::from_millis(500) {
        let (c, w) = (ProcessTime::now(), Instant::now());
        black_box(f());
        wall.push(w.elapsed().as_secs_f64() * 1e3);
        busy.push(c.elapsed().as_secs_f64() * 1e3);
    }
    (median(busy), median(wall))
}

/// Median and shortest wall milliseconds with each of two pools, which take turns of one second: at least three turns and 15 runs
/// each. The first run of a turn is not counted: the processors of a virtual machine wake slowly.
pub fn in_turns<T: Send>(pools: [&rayon::ThreadPool; 2], f: impl Fn() -> T + Sync) -> [(f64, f64); 2] {
    let mut wall = [Vec::new(), Vec::new()];
    for turn in 0.. {
        if turn >= 3 && wall.iter().all(|w| w.len() >= 15) {
            break;
        }
        for (pool, wall) in pools.iter().zip(&mut wall) {
            pool.install(|| {
                black_box(f());
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_secs(1) {
                    let w = Instant::now();
                    black_box(f());
                    wall.push(w.elapsed().as_secs_f64() * 1e3);
                }
            });
        }
    }
    wall.map(|wall| (median(wall.clone()), wall.into_iter().fold(f64::INFINITY, f64::min)))
}

pub fn row<T>(name: &str, f: impl FnMut() -> T) {
    let (busy, wall) = measure(f);
    println!("| {name} | {busy:.3} | {wall:.3} |");
}

/// Fastest CPU milliseconds of each in at least seven rounds and two seconds: the model predicts an undisturbed machine. They
/// take turns, so that none finds its keys in the cache.
pub fn fastest(work: &mut [Box<dyn FnMut() + '_>]) -> Vec<f64> {
    work.iter_mut().for_each(|f| f());
    let (mut best, mut rounds, begun) = (vec![f64::INFINITY; work.len()], 0, Instant::now());
    while rounds < 7 || begun.elapsed() < Duration::from_secs(2) {
        for (f, best) in work.iter_mut().zip(&mut best) {
            let c = ProcessTime::now();
            f();
            *best = best.min(c.elapsed().as_secs_f64() * 1e3);
        }
        rounds += 1;
    }
    best
}

/// `values` at the default scale.
pub fn fresh(
    ctx: &Context,
    secret: &SecretKey,
    values: &[f64],
    level: usize,
    rng: &mut ChaCha20Rng,
) -> Ciphertext {
    let plain = ctx.encode(values, level, ctx.default_scale()).unwrap();
    ctx.expand_ciphertext(&ctx.encrypt_symmetric(&plain, secret, rng).unwrap()).unwrap()
}

/// Full-scale inputs that find different faults.
pub fn inputs(slots: usize) -> Vec<(&'static str, Vec<f64>)> {
    let at = |f: &dyn Fn(usize) -> f64| (0..slots).map(f).collect::<Vec<f64>>();
    vec![
        ("random", at(&|i| ((i as f64 * 12.9898).sin() * 43758.5453).fract())),
        ("constant", at(&|_| 1.0)),
        ("one-hot", at(&|i| f64::from(u8::from(i == 3)))),
        ("alternating", at(&|i| if i % 2 == 0 { 1.0 } else { -1.0 })),
    ]
}

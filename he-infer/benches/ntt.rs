//! Forward and inverse transforms beside the crate `tfhe-ntt`, and base conversion; one thread, 50-bit primes.
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use he_infer::math::{backend::Backend, convert::BasisConverter, modulus::Modulus, ntt::Plan, poly::RnsPoly};

fn transforms(c: &mut Criterion) {
    let Some(&q) = he_infer::math::primes::below(50, 18, 1, &[]).first() else { return };
    let mut group = c.benchmark_group("ntt");
    for log_n in [13u32, 14, 16] {
        let n = 1usize << log_n;
        let data: Vec<u64> = (0..n as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % q).collect();
        for backend in Backend::all() {
            let Some(plan) = Modulus::new(q).and_then(|m| Plan::new(n, m, backend)) else { continue };
            let mut a = data.clone();
            group.bench_function(BenchmarkId::new(format!("{}_forward", backend.name()), log_n), |b| {
                b.iter(|| plan.forward(black_box(&mut a)))
            });
            group.bench_function(BenchmarkId::new(format!("{}_inverse", backend.name()), log_n), |b| {
                b.iter(|| plan.inverse(black_box(&mut a)))
            });
        }
        if let Some(plan) = tfhe_ntt::prime64::Plan::try_new(n, q) {
            let mut a = data.clone();
            group.bench_function(BenchmarkId::new("tfhe_forward", log_n), |b| {
                b.iter(|| plan.fwd(black_box(&mut a)))
            });
            group.bench_function(BenchmarkId::new("tfhe_inverse", log_n), |b| {
                b.iter(|| plan.inv(black_box(&mut a)))
            });
        }
    }
    group.finish();
}

/// Base conversion of eight limbs: one target at a time, and four targets in one pass.
fn conversion(c: &mut Criterion) {
    let (n, backend) = (1usize << 16, Backend::detect());
    let primes = he_infer::math::primes::below(50, 18, 12, &[]);
    let moduli: Vec<Modulus> = primes.iter().filter_map(|q| Modulus::new(*q)).collect();
    let Some((from, to)) = moduli.split_at_checked(8) else { return };
    let converter = BasisConverter::new(from, to);
    let mut ys = RnsPoly::zero(n, from.len());
    for (i, y) in ys.iter_mut().enumerate() {
        y.iter_mut()
            .enumerate()
            .for_each(|(j, y)| *y = (i + 3) as u64 * (j as u64).wrapping_mul(0x9e37_79b9) % (1 << 49));
    }
    let (mut out, mut v) = (RnsPoly::zero(n, to.len()), vec![0; n]);
    let ys: Vec<&[u64]> = ys.iter().collect();
    converter.correction(backend, &ys, &mut v);
    let mut group = c.benchmark_group("conversion");
    group.bench_function("four_single", |b| {
        b.iter(|| {
            out.iter_mut()
                .enumerate()
                .for_each(|(t, out)| converter.convert(backend, t, black_box(&ys), &v, out))
        })
    });
    group.bench_function("four_at_once", |b| {
        b.iter(|| converter.convert_many(backend, out.iter_mut().enumerate(), black_box(&ys), &v))
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(1))
        .warm_up_time(std::time::Duration::from_millis(300));
    targets = transforms, conversion
}
criterion_main!(benches);

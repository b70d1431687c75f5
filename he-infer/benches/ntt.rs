//! Forward and inverse transforms beside the crate `tfhe-ntt`, one thread, 50-bit prime.
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use he_infer::math::{backend::Backend, modulus::Modulus, ntt::Plan};

fn transforms(c: &mut Criterion) {
    let Some(&q) = he_infer::math::primes::below(50, 18, 1, &[]).first() else { return };
    let mut group = c.benchmark_group("ntt");
    for log_n in [13u32, 14, 16] {
        let n = 1usize << log_n;
        let data: Vec<u64> = (0..n as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % q).collect();
        if let Some(plan) = Modulus::new(q).and_then(|m| Plan::new(n, m, Backend::detect())) {
            let mut a = data.clone();
            group.bench_function(BenchmarkId::new("forward", log_n), |b| {
                b.iter(|| plan.forward(black_box(&mut a)))
            });
            group.bench_function(BenchmarkId::new("inverse", log_n), |b| {
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

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(1))
        .warm_up_time(std::time::Duration::from_millis(300));
    targets = transforms
}
criterion_main!(benches);

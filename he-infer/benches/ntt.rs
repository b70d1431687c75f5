//! Forward and inverse transforms beside the crate `tfhe-ntt`, base conversion, and products with keys; one thread, 50-bit primes.
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use he_infer::math::{
    backend::Backend, buffer::BufferPool, convert::BasisConverter, key_product, modulus::Modulus, ntt::Plan,
    packed, packed::PackedPoly, poly::RnsPoly, primes, vector,
};

fn transforms(c: &mut Criterion) {
    let Some(&q) = primes::below(50, 18, 1, &[]).first() else { return };
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
    let primes = primes::below(50, 18, 12, &[]);
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
        b.iter(|| converter.convert_many(backend, out.iter_mut().enumerate(), black_box(&ys)))
    });
    group.finish();
}

/// One limb of two digits times sixteen keys, which come from memory: residues as words and packed.
fn key_product(c: &mut Criterion) {
    let (n, backend, keys) = (1usize << 16, Backend::detect(), 16);
    let Some(m) = primes::below(50, 18, 1, &[]).first().and_then(|q| Modulus::new(*q)) else { return };
    let (mut plain, mut out) = (RnsPoly::zero(n, 4 * keys), RnsPoly::zero(n, 2));
    for (i, x) in plain.iter_mut().enumerate() {
        x.iter_mut().enumerate().for_each(|(j, x)| *x = (i * n + j) as u64 * 0x9e37_79b9 % m.value());
    }
    let mut packed = PackedPoly::recycled(n, vec![m.value(); 4 * keys], &BufferPool::default());
    packed
        .limbs_mut()
        .into_iter()
        .zip(plain.iter())
        .for_each(|(out, x)| packed::pack(backend, packed::width(m.value()), out, x));
    let digits = [(0, plain.limb(0).to_vec()), (2, plain.limb(1).to_vec())];
    let mut outs = out.limbs_mut().into_iter();
    let (Some(u0), Some(u1)) = (outs.next(), outs.next()) else { return };
    let mut group = c.benchmark_group("key_product");
    group.bench_function("words", |b| {
        b.iter(|| {
            for k in 0..keys {
                let terms = digits
                    .each_ref()
                    .map(|(j, x)| (&x[..], plain.limb(4 * k + j), plain.limb(4 * k + j + 1)));
                vector::dot_pair(backend, &m, u0, u1, black_box(&terms));
            }
        })
    });
    group.bench_function("packed", |b| {
        b.iter(|| {
            for k in 0..keys {
                let terms = digits
                    .each_ref()
                    .map(|(j, x)| (&x[..], packed.limb(4 * k + j), packed.limb(4 * k + j + 1)));
                key_product::dot_pair(backend, &m, true, u0, u1, black_box(&terms));
            }
        })
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(1))
        .warm_up_time(std::time::Duration::from_millis(300));
    targets = transforms, conversion, key_product
}
criterion_main!(benches);

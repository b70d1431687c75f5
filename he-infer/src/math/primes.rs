//! NTT-friendly primes: `q = 1 mod 2^k`, as close as possible to a power of two.

use super::modulus::Modulus;

/// Deterministic primality test (Miller–Rabin with the first twelve primes as bases, exact below `2^64`).
#[must_use]
pub fn is_prime(n: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if n < 2 {
        return false;
    }
    for p in BASES {
        if n.is_multiple_of(p) {
            return n == p;
        }
    }
    let mul = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(n)) as u64;
    let s = (n - 1).trailing_zeros();
    let d = (n - 1) >> s;
    BASES.iter().all(|&a| {
        let (mut x, mut base, mut e) = (1, a, d);
        while e > 0 {
            if e & 1 == 1 {
                x = mul(x, base);
            }
            base = mul(base, base);
            e >>= 1;
        }
        if x == 1 || x == n - 1 {
            return true;
        }
        (1..s).any(|_| {
            x = mul(x, x);
            x == n - 1
        })
    })
}

/// Up to `count` primes `= 1 mod 2^k` nearest to `2^bits`, alternating above and below it, none in `avoid`.
///
/// Alternation keeps the running product close to a power of two, so scales drift little. Primes stay below `2^50`.
#[must_use]
pub fn around(bits: u32, k: u32, count: usize, avoid: &[u64]) -> Vec<u64> {
    let (centre, step) = (1u64 << bits.min(62), 1u64 << k);
    let usable = |q: &u64| *q < 1 << 50 && is_prime(*q) && !avoid.contains(q);
    let mut above = (1u64..1 << 20).map(|i| centre + i * step - step + 1).filter(usable);
    let mut below = (1u64..1 << 20).map_while(|i| (centre + 1).checked_sub(i * step)).filter(usable);
    let mut out = Vec::with_capacity(count);
    while out.len() < count {
        let before = out.len();
        if bits < 50 {
            out.extend(above.next());
        }
        if out.len() < count {
            out.extend(below.next());
        }
        if out.len() == before {
            break;
        }
    }
    out
}

/// Up to `count` largest primes `= 1 mod 2^k` below `2^bits`, none in `avoid`.
#[must_use]
pub fn below(bits: u32, k: u32, count: usize, avoid: &[u64]) -> Vec<u64> {
    let step = 1u64 << k;
    (1u64..1 << 20)
        .map_while(|i| ((1u64 << bits.min(62)) + 1).checked_sub(i * step))
        .filter(|q| is_prime(*q) && !avoid.contains(q))
        .take(count)
        .collect()
}

/// A primitive `order`-th root of unity modulo the prime `m`, for `order` a power of two dividing `q - 1`.
///
/// The smallest candidate base is used, so the result is the same on every machine. `None` if `order` does not divide.
#[must_use]
pub fn primitive_root(m: &Modulus, order: u64) -> Option<u64> {
    let q = m.value();
    if !order.is_power_of_two() || order < 2 || !(q - 1).is_multiple_of(order) {
        return None;
    }
    (2..q.min(10_000)).map(|g| m.pow(g, (q - 1) / order)).find(|&root| m.pow(root, order / 2) == q - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_primes_are_prime_distinct_and_congruent() {
        let found = around(40, 17, 6, &[]);
        assert_eq!(found.len(), 6);
        for (i, q) in found.iter().enumerate() {
            assert!(is_prime(*q) && q % (1 << 17) == 1 && !found[..i].contains(q));
        }
        assert!(below(50, 16, 4, &found).iter().all(|q| *q < 1 << 50 && is_prime(*q)));
        assert!(!is_prime(3_215_031_751) && is_prime(2) && !is_prime(1));
    }
}

//! Answers found by other means (`vectors/make.py`: numpy and Python's integers).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use he_infer::math::backend::Backend;
use he_infer::math::convert::BasisConverter;
use he_infer::math::modulus::Modulus;
use he_infer::math::special_fft::SpecialFft;
use serde::Deserialize;

#[derive(Deserialize)]
struct Answers {
    encodings: Vec<Encoding>,
    conversions: Vec<Conversion>,
}

#[derive(Deserialize)]
struct Encoding {
    re: Vec<f64>,
    im: Vec<f64>,
    coefficients: Vec<f64>,
}

#[derive(Deserialize)]
struct Conversion {
    source: Vec<u64>,
    target: Vec<u64>,
    residues: Vec<Vec<u64>>,
    answers: Vec<Vec<u64>>,
}

fn answers() -> Answers {
    serde_json::from_str(include_str!("vectors/known_answers.json")).unwrap()
}

#[test]
fn encodings_are_the_solution_of_the_linear_system() {
    for case in answers().encodings {
        let slots = case.re.len();
        for backend in Backend::all() {
            let fft = SpecialFft::new(slots, backend);
            let (mut from_re, mut from_im) = (case.re.clone(), case.im.clone());
            let (mut re, mut im) = (vec![0.0; slots], vec![0.0; slots]);
            fft.encode(&mut from_re, &mut from_im, &mut re, &mut im);
            for (have, want) in re.iter().chain(&im).zip(&case.coefficients) {
                assert!((have - want).abs() < 1e-12, "{slots} slots: {have} for {want}");
            }
            fft.decode(&mut re, &mut im);
            for (have, want) in re.iter().chain(&im).zip(case.re.iter().chain(&case.im)) {
                assert!((have - want).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn conversions_are_those_of_big_integers() {
    for case in answers().conversions {
        let [source, target] = [&case.source, &case.target]
            .map(|l| l.iter().map(|q| Modulus::new(*q).unwrap()).collect::<Vec<_>>());
        let converter = BasisConverter::new(&source, &target);
        let scaled = |(m, (xs, k)): (&Modulus, (&Vec<u64>, &u64))| {
            xs.iter().map(|x| m.mul(*x, *k)).collect::<Vec<u64>>()
        };
        let ys: Vec<Vec<u64>> =
            source.iter().zip(case.residues.iter().zip(converter.premultipliers())).map(scaled).collect();
        let ys: Vec<&[u64]> = ys.iter().map(|y| &y[..]).collect();
        for backend in Backend::all() {
            let mut v = vec![0; ys[0].len()];
            converter.correction(backend, &ys, &mut v);
            for (t, want) in case.answers.iter().enumerate() {
                let mut have = vec![0; want.len()];
                converter.convert(backend, t, &ys, &v, &mut have);
                assert_eq!(&have, want, "modulo {}", case.target[t]);
            }
        }
    }
}

//! `hetrain generate`: a language model goes on with a text, in the clear.

use std::io::Write;

use hetrain_export::{Artifact, interp::Interpreter};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::{Context, plan::find_model};
use crate::{alphabet::Alphabet, cli::GenerateArgs, progress::tell};

/// Run the command.
///
/// # Errors
/// A model that reads no text, a letter it does not know.
pub fn run(context: &Context, args: &GenerateArgs) -> anyhow::Result<()> {
    let artifact = Artifact::read(&find_model(context, &args.model)?)?;
    let alphabet = Alphabet::of(&artifact)?;
    let interpreter = Interpreter::new(&artifact.graph)?;
    let mut rng = ChaCha20Rng::seed_from_u64(args.seed);
    let mut text = args.prompt.clone();
    alphabet.encode(&text)?;
    print(&text);
    for _ in 0..args.length {
        if context.stop.load(std::sync::atomic::Ordering::Relaxed) {
            break;
        }
        let values = interpreter.run(&alphabet.encode(&text)?)?;
        let logits = values.last().map(Vec::as_slice).unwrap_or_default();
        let class = drawn(logits, args.temperature, rng.random::<f64>());
        let Some(letter) = alphabet.letter(class) else { break };
        text.push(letter);
        print(letter.encode_utf8(&mut [0; 4]));
    }
    Ok(tell("")?)
}

/// As it comes; whoever closed the pipe has seen enough.
fn print(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The class at `share` of the distribution `softmax(logits/temperature)`; the likeliest for a temperature of 0.
fn drawn(logits: &[f64], temperature: f64, share: f64) -> usize {
    let (best, largest) =
        logits.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default();
    if temperature == 0.0 {
        return best;
    }
    let weights = logits.iter().map(|v| ((v - largest) / temperature).exp());
    let mut left = share * weights.clone().sum::<f64>();
    for (class, weight) in weights.enumerate() {
        left -= weight;
        if left < 0.0 {
            return class;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_drawn_as_often_as_they_are_likely() {
        let logits = [0.0, 3f64.ln(), f64::NEG_INFINITY];
        let count = |t: f64| (0..1000).filter(|i| drawn(&logits, t, f64::from(*i) / 1000.0) == 1).count();
        assert_eq!([count(1.0), count(0.5), count(0.0)], [750, 900, 1000]);
        assert_eq!(drawn(&logits, 1.0, 1.0), 1);
    }
}

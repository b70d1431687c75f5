//! `hetrain generate`: a language model goes on with a text, in the clear.

use std::{io::Write, path::Path, sync::atomic::Ordering};

use anyhow::{Context as _, bail};
use burn::{module::Module, tensor::Device};
use hetrain_datasets::{Batcher, Normalise, windows};
use hetrain_export::{Artifact, interp::Interpreter};
use hetrain_layers::HeModel;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::{Context, plan::find_model};
use crate::{
    alphabet::Alphabet,
    checkpoint::Store,
    cli::GenerateArgs,
    data::{TrainingData, pixels},
    evaluate::evaluate,
    loss::to_host,
    progress::tell,
    run_dir::RunDir,
    trainer::Trainer,
};

/// Run the command.
///
/// # Errors
/// A model that reads no text, a letter it does not know.
pub fn run(context: &Context, args: &GenerateArgs) -> anyhow::Result<()> {
    let path = find_model(context, &args.model)?;
    let artifact = Artifact::read(&path)?;
    let alphabet = Alphabet::of(&artifact)?;
    let original = if args.original || args.judge { Some(Original::of(context, &path)?) } else { None };
    let interpreter = Interpreter::new(&artifact.graph)?;
    let next = |text: &[u16]| match &original {
        Some(original) if args.original => original.logits(&alphabet, text),
        _ => {
            let values = interpreter.run(&alphabet.input(text))?;
            values.into_iter().next_back().context("a graph without nodes")
        }
    };
    let mut rng = ChaCha20Rng::seed_from_u64(args.seed);
    let bytes = |token: u16| alphabet.vocabulary().bytes(token).context("a class without a name");
    let blank = alphabet.vocabulary().blank();
    let mut text = args.prompt.as_ref().map_or(Ok(vec![blank]), |prompt| alphabet.tokens(prompt))?;
    let mut writer = Writer::default();
    writer.write(&args.prompt.as_ref().map_or(bytes(blank)?, |prompt| prompt.as_bytes().into()));
    for _ in 0..args.length {
        if context.stop.load(Ordering::Relaxed) {
            break;
        }
        let class = u16::try_from(drawn(&next(&text)?, args.temperature, rng.random::<f64>()))?;
        text.push(class);
        writer.write(&bytes(class)?);
    }
    writer.end();
    tell("")?;
    if let Some(original) = original.filter(|_| args.judge) {
        let (nats, count, characters) = original.judged(&alphabet, &text)?;
        let unit = alphabet.unit();
        let a_letter = characters.map_or(String::new(), |n| format!(" ({:.4} a letter)", nats / n));
        tell(&format!("{nats:.4} nats a {unit}{a_letter} under the original network, over {count} {unit}s"))?;
    }
    Ok(())
}

/// The original network of a run.
struct Original {
    model: HeModel,
    normalise: Normalise,
    device: Device,
}

impl Original {
    /// That of the run whose artifact is `model`.
    fn of(context: &Context, model: &Path) -> anyhow::Result<Self> {
        let folder = model.parent().filter(|folder| folder.join("config.yaml").is_file());
        let Some(folder) = folder else {
            bail!(
                "{}: only a run has its original network beside it\n  help: name a run: `--model gpt_shakespeare_poly`",
                model.display()
            );
        };
        let (run, config) = RunDir::open_for(&context.global.runs, folder, Some(Path::new("")))?;
        let data = TrainingData::load(&config, context.global.data_dir.as_deref())?;
        let device = context.global.device.open()?;
        let (runs, stop) = (&context.global.runs, &context.stop);
        let trainer =
            Trainer { run: &run, config: &config, data: &data, runs, device: &device, stop, stages: 0 };
        let model =
            trainer.original(&Store::new(run.checkpoints()))?.context("the run has no original network")?;
        Ok(Self { model: model.deep_copy().valid(), normalise: data.normalise.clone(), device })
    }

    /// What it expects after `text`.
    fn logits(&self, alphabet: &Alphabet, text: &[u16]) -> anyhow::Result<Vec<f64>> {
        let (mut tokens, classes) = (alphabet.window(text), alphabet.vocabulary().len());
        // The letter after the window is not known yet; any will do.
        tokens.push(0);
        let set = windows(&tokens, alphabet.length(), 1, classes);
        let batch = Batcher::evaluation(&set, 1, &self.normalise)?.batch(0, 0);
        let values = to_host(self.model.forward(pixels(batch, &self.device)).logits)?;
        Ok(values.chunks(classes).next_back().unwrap_or_default().iter().map(|&v| f64::from(v)).collect())
    }

    /// Mean of `−ln p` of the letters or tokens of `text`, each after those before it in its window, their number, and of tokens
    /// the letters of each.
    fn judged(&self, alphabet: &Alphabet, text: &[u16]) -> anyhow::Result<(f64, usize, Option<f64>)> {
        let (length, vocabulary) = (alphabet.length(), alphabet.vocabulary());
        let set = windows(text, length, length, vocabulary.len());
        if set.is_empty() {
            bail!(
                "--judge: needs more than {length} {}s\n  help: write more: `--length 10000`",
                alphabet.unit()
            );
        }
        let nats = evaluate(&self.model, &set, &self.normalise, &self.device)?.loss;
        Ok((nats, set.labels.len(), vocabulary.characters_per_token(&set)))
    }
}

/// Text on its way out, of which the last character may not be whole yet.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    /// Add bytes, and print what is whole. What can be no character any more is printed as the one for that.
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let whole = whole(&self.0);
        let rest = self.0.split_off(whole);
        print(&String::from_utf8_lossy(&std::mem::replace(&mut self.0, rest)));
    }

    /// Print what is left.
    fn end(&mut self) {
        print(&String::from_utf8_lossy(&std::mem::take(&mut self.0)));
    }
}

/// How many of `bytes` stand before a character that may go on.
fn whole(bytes: &[u8]) -> usize {
    let mut from = 0;
    while let Err(error) = std::str::from_utf8(bytes.get(from..).unwrap_or_default()) {
        from += error.valid_up_to();
        match error.error_len() {
            None => return from,
            Some(wrong) => from += wrong,
        }
    }
    bytes.len()
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
    fn characters_are_printed_when_they_are_whole() {
        assert_eq!([whole(b""), whole("a語".as_bytes()), whole(b"a\xe8\xaa")], [0, 4, 1]);
        // A byte that begins nothing, and a beginning that another follows.
        assert_eq!([whole(b"\xffa"), whole(b"\xe8a\xe8"), whole(b"\xe8\xe8\xaa\x9e")], [2, 2, 4]);
    }

    #[test]
    fn classes_are_drawn_as_often_as_they_are_likely() {
        let logits = [0.0, 3f64.ln(), f64::NEG_INFINITY];
        let count = |t: f64| (0..1000).filter(|i| drawn(&logits, t, f64::from(*i) / 1000.0) == 1).count();
        assert_eq!([count(1.0), count(0.5), count(0.0)], [750, 900, 1000]);
        assert_eq!(drawn(&logits, 1.0, 1.0), 1);
    }
}

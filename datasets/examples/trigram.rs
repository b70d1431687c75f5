//! What a language model has to beat: an interpolated Kneser-Ney trigram (Kneser and Ney 1995; Chen and Goodman 1999, CMU-CS TR-10-98) of
//! the same characters or tokens, learned from the same part of the text and tested on the same.
//!
//! ```text
//! cargo run --release -p hetrain-datasets --example trigram -- wikitext-2                 needs $HETRAIN_DATA with text/wikitext-2/
//! cargo run --release -p hetrain-datasets --example trigram -- wikitext-2 --tokens 512    of tokens, as `data.tokens: 512`
//! ```
#![allow(clippy::print_stdout, reason = "an example says what it found")]

use std::collections::{HashMap, HashSet};

use hetrain_datasets::{DatasetConfig, ImageSet, load};

/// Counts of one order: of every context, how often what followed it.
type Counts = HashMap<Vec<u16>, HashMap<u16, f64>>;

/// An interpolated model: continuation counts below the highest order, one discount for each.
struct KneserNey {
    orders: Vec<(Counts, f64)>,
    vocabulary: usize,
}

impl KneserNey {
    fn learn(text: &[u16], order: usize, vocabulary: usize) -> Self {
        let counts = |length: usize| -> Counts {
            let mut counts = Counts::new();
            if length == order {
                for gram in text.windows(length) {
                    let Some((last, context)) = gram.split_last() else { continue };
                    *counts.entry(context.to_vec()).or_default().entry(*last).or_default() += 1.0;
                }
                return counts;
            }
            // In how many contexts one longer it occurs.
            let longer: HashSet<&[u16]> = text.windows(length + 1).collect();
            for gram in longer {
                let Some((last, context)) = gram.get(1..).and_then(<[u16]>::split_last) else { continue };
                *counts.entry(context.to_vec()).or_default().entry(*last).or_default() += 1.0;
            }
            counts
        };
        let discounted = |length: usize| {
            let counts = counts(length);
            let of = |n: f64| counts.values().flat_map(HashMap::values).filter(|c| **c == n).count() as f64;
            let (once, twice) = (of(1.0), of(2.0));
            let discount = if once > 0.0 { once / (once + 2.0 * twice) } else { 0.5 };
            (counts, discount)
        };
        Self { orders: (1..=order).map(discounted).collect(), vocabulary }
    }

    /// Probability of `next` after `past`.
    fn probability(&self, past: &[u16], next: u16) -> f64 {
        let mut p = 1.0 / self.vocabulary as f64;
        for (length, (counts, discount)) in self.orders.iter().enumerate() {
            let Some(context) = past.len().checked_sub(length).and_then(|from| past.get(from..)) else {
                break;
            };
            let Some(after) = counts.get(context) else { break };
            let total: f64 = after.values().sum();
            let own = (after.get(&next).copied().unwrap_or_default() - discount).max(0.0);
            p = (own + discount * after.len() as f64 * p) / total;
        }
        p
    }
}

/// What follows, window after window; of windows that overlap by half the first half of each.
fn following(set: &ImageSet, step: usize) -> Vec<u16> {
    (0..set.len()).filter_map(|i| set.labels_of(i)?.get(..step)).flatten().copied().collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, tokens) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => ("tinyshakespeare", None),
        [name] => (name, None),
        [name, "--tokens", tokens] => (name, Some(tokens.parse()?)),
        _ => return Err("needs the name of a text, and perhaps --tokens N".into()),
    };
    let splits = load(&DatasetConfig { tokens, ..DatasetConfig::named(name) }, None, 1)?;
    let vocabulary = splits.vocabulary.ok_or("not a text")?;
    let characters = vocabulary.characters_per_token(&splits.test);
    let unit = if characters.is_some() { "token" } else { "character" };
    let length = splits.train.targets();
    let (seen, test) = (following(&splits.train, length / 2), following(&splits.test, length));
    for order in 1..=5 {
        let model = KneserNey::learn(&seen, order, splits.train.classes);
        let nats: f64 = (0..test.len())
            .filter_map(|i| {
                let past = test.get(i.saturating_sub(order - 1)..i)?;
                Some(-model.probability(past, *test.get(i)?).ln())
            })
            .sum::<f64>()
            / test.len() as f64;
        let each = characters.map_or(String::new(), |n| format!(" ({:.4} a character)", nats / n));
        println!(
            "{name}, order {order}: {nats:.4} nats a {unit}{each}, perplexity {:.3}, over {} {unit}s",
            nats.exp(),
            test.len()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one() {
        let text: Vec<u16> = (0..500u32).map(|i| (i * i % 7 % 4) as u16).collect();
        let model = KneserNey::learn(&text, 3, 5);
        for past in [&[][..], &[1], &[1, 2], &[4, 4]] {
            let sum: f64 = (0..5).map(|next| model.probability(past, next)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "after {past:?}: {sum}");
        }
    }
}

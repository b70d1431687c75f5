//! `ladder.json`: the summary of a verification, written by `verify-encrypted` and read by the report.

use std::{
    f64::consts::LN_2,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::{html::percent, number};
use crate::run_dir::write_atomic;

/// Name of the file in a run folder.
pub const LADDER_FILE: &str = "ladder.json";

/// A verified model: every rung of the ladder, with its price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LadderSummary {
    /// Name of the model.
    pub model: String,
    /// Digest of the verified artifact.
    pub model_digest: String,
    /// Name of the data set.
    pub data: String,
    /// Of a text by tokens: characters of the test text for each.
    #[serde(default, with = "number::option")]
    pub characters_per_token: Option<f64>,
    /// Processor and instruction set.
    pub machine: String,
    /// Threads used.
    pub threads: usize,
    /// The rungs, from the original network to the encrypted one.
    pub rungs: Vec<RungSummary>,
    /// Parameters of the encrypted run.
    pub parameters: ParametersSummary,
    /// Nodes of the program, in order.
    pub nodes: Vec<NodeSummary>,
    /// Times and sizes.
    pub timing: TimingSummary,
    /// The first node where two rungs part and by how much; none when they agree.
    pub divergence: Option<String>,
}

/// One way of computing the same network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RungSummary {
    /// `original`, `polynomial`, `graph`, `packed` or `encrypted`.
    pub rung: String,
    /// Words for people: `encrypted (CKKS)`.
    pub title: String,
    /// Images run.
    pub samples: usize,
    /// Images classified correctly.
    pub correct: usize,
    /// Images classified as on the rung before.
    pub agree: Option<usize>,
    /// Those of these images that the rung before, which may have run more, classified correctly.
    pub correct_before: Option<usize>,
    /// Largest absolute difference of a logit to the rung before.
    #[serde(with = "number::option")]
    pub max_logit_error: Option<f64>,
    /// That difference in bits, relative to the range of the logits.
    #[serde(with = "number::option")]
    pub bits: Option<f64>,
    /// Values that left the interval of their polynomial.
    pub excursions: u64,
    /// Of a text: mean of `−ln p` of the letter after a window, `p` the model's probability of it.
    #[serde(default, with = "number::option")]
    pub nats: Option<f64>,
    /// The same over all positions of all test windows, where the network answers for all of them.
    #[serde(default, with = "number::option")]
    pub nats_everywhere: Option<f64>,
}

/// Parameters of the encrypted run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParametersSummary {
    /// Ring degree `2^log_n`.
    pub log_n: u32,
    /// Bits of the whole modulus.
    pub log_qp: f64,
    /// Bits the security table allows at this ring degree.
    pub log_qp_limit: f64,
    /// Rescalings a fresh ciphertext allows.
    pub levels: usize,
    /// Bits of the scale.
    pub scale_bits: u32,
    /// Bits of security.
    pub security: u32,
    /// How samples lie in ciphertexts: `image` or `batch`.
    pub packing: String,
    /// Rotation keys the server needs.
    pub rotation_keys: usize,
    /// Predicted precision of the logits in bits.
    #[serde(with = "number")]
    pub predicted_bits: f64,
}

/// One node of the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSummary {
    /// Name in the graph.
    pub name: String,
    /// The operation.
    pub op: String,
    /// Level of the operands.
    pub level_in: usize,
    /// Level of the result.
    pub level_out: usize,
    /// Ciphertexts of the result.
    pub ciphertexts: usize,
    /// Rotations made.
    pub rotations: u64,
    /// Predicted seconds per run.
    pub seconds_estimated: f64,
    /// Measured seconds per run.
    pub seconds_measured: Option<f64>,
    /// Predicted precision of the result in bits.
    #[serde(with = "number")]
    pub bits_predicted: f64,
    /// Measured precision of the result in bits.
    #[serde(with = "number::option")]
    pub bits_measured: Option<f64>,
}

/// Times in seconds and sizes in bytes. A run takes `images_per_run` images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimingSummary {
    /// Generation of all keys.
    pub key_seconds: f64,
    /// Preparation of the weights.
    pub weights_seconds: f64,
    /// Encoding and encrypting the input of a run.
    pub encode_encrypt_seconds: f64,
    /// From fresh ciphertexts to result ciphertexts, per run.
    pub infer_seconds: f64,
    /// Decrypting and decoding the result of a run.
    pub decrypt_seconds: f64,
    /// Wall seconds of the whole rung per image: encoding, encryption and decryption included, keys and weights not.
    pub seconds_per_image: f64,
    /// Images of a run.
    pub images_per_run: usize,
    /// Evaluation keys.
    pub key_bytes: u64,
    /// Largest resident memory of the process.
    pub peak_bytes: u64,
    /// Predicted `infer_seconds`.
    pub estimated_seconds: f64,
    /// Predicted `peak_bytes`.
    pub estimated_peak_bytes: u64,
}

impl LadderSummary {
    /// The rung computed on ciphertexts, if it was run.
    pub fn encrypted(&self) -> Option<&RungSummary> {
        self.rungs.iter().find(|r| r.rung == "encrypted" && r.samples > 0)
    }

    /// What the clear program has on the encrypted images, in words, where it ran more than those: its own row is then of
    /// other images, and a difference to it is not what encryption costs.
    pub fn same_images(&self) -> Option<String> {
        let encrypted = self.encrypted()?;
        let clear = self.rungs.iter().take_while(|r| r.rung != "encrypted").last()?;
        let correct = encrypted.correct_before.filter(|_| clear.samples > encrypted.samples)?;
        let these = match encrypted.samples {
            1 => "this 1 image".to_string(),
            n => format!("these {n} images"),
        };
        let accuracy = percent(share(correct, encrypted.samples)?);
        let too = if correct == encrypted.correct { " too" } else { "" };
        Some(format!("on {these} the clear program has {accuracy}{too}"))
    }
}

impl LadderSummary {
    /// Of a text: how well each rung foretells it, a line each. What models of other tokens can be compared by is counted for
    /// each letter.
    pub fn foretold(&self) -> Vec<String> {
        let unit = if self.characters_per_token.is_some() { "token" } else { "letter" };
        let letters = |nats: f64| {
            self.characters_per_token.map_or(String::new(), |letters| {
                format!(" ({:.4} nats, {:.3} bits a letter)", nats / letters, nats / letters / LN_2)
            })
        };
        let line = |rung: &RungSummary| {
            let nats = rung.nats?;
            let everywhere = rung.nats_everywhere.map_or(String::new(), |all| {
                format!(
                    "; {all:.4} at all positions: perplexity {:.3}, {:.3} bits a {unit}{}",
                    all.exp(),
                    all / LN_2,
                    letters(all)
                )
            });
            let (title, samples) = (&rung.title, rung.samples);
            let after = letters(nats);
            Some(format!("{title}: {nats:.4} nats a {unit}{after} after {samples} windows{everywhere}"))
        };
        self.rungs.iter().filter_map(line).collect()
    }
}

impl RungSummary {
    /// Share of correct images; none without images.
    pub fn accuracy(&self) -> Option<f64> {
        share(self.correct, self.samples)
    }

    /// Share of images classified as on the rung before.
    pub fn agreement(&self) -> Option<f64> {
        self.agree.and_then(|n| share(n, self.samples))
    }
}

impl TimingSummary {
    /// What one image costs: the latency of its run, or its share of a batch with everything included.
    pub fn image_seconds(&self) -> f64 {
        if self.images_per_run > 1 { self.seconds_per_image } else { self.infer_seconds }
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Write `ladder.json` into the run folder; its path. An old file is replaced only by a complete new one.
///
/// # Errors
/// I/O.
pub fn write_ladder(run_dir: &Path, summary: &LadderSummary) -> anyhow::Result<PathBuf> {
    let path = run_dir.join(LADDER_FILE);
    let mut text = serde_json::to_vec_pretty(summary).with_context(|| path.display().to_string())?;
    text.push(b'\n');
    write_atomic(&path, &text)?;
    Ok(path)
}

/// Read `ladder.json` of the run folder; none when the run was not verified.
///
/// # Errors
/// I/O; a file of another form, named with line and column.
pub fn read_ladder(run_dir: &Path) -> anyhow::Result<Option<LadderSummary>> {
    let path = run_dir.join(LADDER_FILE);
    let Some(text) = super::input::read_optional(&path)? else { return Ok(None) };
    let summary = serde_json::from_str(&text).with_context(|| {
        format!(
            "{}: not a ladder summary of this version\n  help: run `hetrain verify-encrypted` again",
            path.display()
        )
    })?;
    Ok(Some(summary))
}

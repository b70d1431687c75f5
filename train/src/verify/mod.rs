//! The accuracy ladder over a test set: the one place where test images are read.
//!
//! ```text
//! original (Burn) → polynomial (Burn) → graph (f64) → packed (clear slots) → encrypted (CKKS)
//! ```
//! Every rung gives logits for the same images, the later ones for the first of them, and is compared with the one before. Finished samples are appended to
//! `ladder.jsonl`, so an interrupted verification goes on where it stopped.

mod clear;
mod compare;
mod divergence;
mod encrypted;
mod machine;
mod records;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::{Context as _, bail};
use he_infer::plan::{CostTable, Estimate, PlanOptions, Program};
use hetrain_datasets::ImageSet;
use hetrain_export::Artifact;

pub use encrypted::parallel_runs;
pub use machine::{available_memory, describe as describe_machine, resident_memory};
pub use records::{Header, Ladder, Record, Rung, header};

use crate::{
    progress::say,
    report::{self, LadderSummary},
};

/// What to verify, and how far.
pub struct Job<'a> {
    /// The model.
    pub artifact: &'a Artifact,
    /// Its file, for messages.
    pub model: &'a Path,
    /// The plan of its encrypted run.
    pub program: Arc<Program>,
    /// What was asked of the plan.
    pub options: PlanOptions,
    /// The plan's price.
    pub estimate: Estimate,
    /// What it was made with.
    pub costs: CostTable,
    /// Name of the data set.
    pub data: String,
    /// Test images.
    pub test: &'a ImageSet,
    /// Of a text by tokens: characters of it for each.
    pub characters_per_token: Option<f64>,
    /// Images in the clear rungs.
    pub samples: usize,
    /// Images in the packed program, the slowest of the clear rungs.
    pub packed: usize,
    /// Images in the encrypted rung.
    pub encrypted: usize,
    /// Threads.
    pub threads: usize,
    /// Most bytes the process may hold.
    pub max_bytes: u64,
    /// Images to a run in the batch layout; all that fit when absent.
    pub batch: Option<usize>,
    /// Decrypt every layer of some images and compare.
    pub compare_layers: bool,
    /// Where `ladder.jsonl`, `ladder.json` and the report go.
    pub folder: PathBuf,
    /// Set when the user wants to stop.
    pub stop: &'a AtomicBool,
}

/// Gives the logits of a Burn network for some images, in their order.
pub type BurnLogits<'a> = Box<dyn Fn(&ImageSet) -> anyhow::Result<Vec<Vec<f64>>> + 'a>;

/// The networks of a run, for the first two rungs.
pub struct BurnRungs<'a> {
    /// The original network the polynomial one came from.
    pub original: Option<BurnLogits<'a>>,
    /// The polynomial network.
    pub polynomial: Option<BurnLogits<'a>>,
    /// Of a text, what they lose at all positions: mean of `−ln p`.
    pub nats: BTreeMap<Rung, f64>,
}

/// Climb the ladder; the summary is also written to the folder, with the report.
///
/// # Errors
/// Data that does not fit the model, too little memory, an interrupted run (which can be continued), I/O.
pub fn climb(job: &Job<'_>, burn: &BurnRungs<'_>) -> anyhow::Result<LadderSummary> {
    let shape = job.artifact.graph.input_shape();
    if shape != job.test.shape.as_slice() {
        bail!(
            "{}: the model takes images {shape:?}, `{}` has {:?}\n  help: name the data set the model was trained for with `--data`",
            job.model.display(),
            job.data,
            job.test.shape
        );
    }
    let header = Header {
        model_digest: job.artifact.digest()?,
        data_digest: job.test.digest(),
        packing: format!("{:?}", job.options.packing).to_lowercase(),
        precision_bits: job.options.precision_bits,
        images: job.options.images,
        embedded: job.options.embedded,
    };
    // Not before: what is refused leaves nothing.
    std::fs::create_dir_all(&job.folder).with_context(|| job.folder.display().to_string())?;
    let mut ladder = Ladder::open(&job.folder.join("ladder.jsonl"), &header)?;
    let known = ladder.len();
    if known > 0 {
        let rungs = match Rung::ALL.iter().filter(|r| ladder.rung(**r, usize::MAX).next().is_some()).count() {
            1 => "1 rung".to_string(),
            n => format!("{n} rungs"),
        };
        say(&format!("  {known} results of an earlier verification are kept, over {rungs}"));
    }
    let encrypted = ladder.rung(Rung::Encrypted, usize::MAX).count();
    if encrypted > job.encrypted {
        say(&format!(
            "  {encrypted} encrypted results are already there, more than the {} asked for; -o DIR measures anew",
            job.encrypted
        ));
    }
    for (rung, logits) in [(Rung::Original, &burn.original), (Rung::Polynomial, &burn.polynomial)] {
        if let Some(logits) = logits {
            clear::burn_rung(job, &mut ladder, rung, logits)?;
        }
    }
    clear::graph_rung(job, &mut ladder)?;
    clear::packed_rung(job, &mut ladder)?;
    // Times of an earlier verification of the same model stay true when there is nothing left to run.
    let earlier =
        report::read_ladder(&job.folder)?.filter(|e| e.model_digest == header.model_digest && known > 0);
    let measured = encrypted::rung(job, &mut ladder)?;
    let divergence = divergence::explain(job, &ladder)?;
    let summary = compare::summary(job, &ladder, burn, measured.as_ref(), earlier, divergence)?;
    report::write_ladder(&job.folder, &summary)?;
    Ok(summary)
}

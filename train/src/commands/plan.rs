//! What commands on artifacts share: find the model, plan it, price it, check that it fits.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use he_infer::plan::{Bootstrapping, CostTable, Estimate, Packing, PlanOptions, Program, estimate, plan};
use hetrain_export::Artifact;
use serde::{Deserialize, Serialize};

use super::{Context, bench};
use crate::{
    cli::{HowArgs, InputName, LayoutName, PlanArgs},
    config::{HeSettings, InputKind, LayoutKind, RunConfig},
    error::RunError,
    run_dir::RunDir,
    verify::{available_memory, resident_memory},
};

/// Bits kept where nobody asks for others.
const DEFAULT_BITS: u32 = 12;

/// A model with the plan of its encrypted run.
pub struct Planned {
    /// The artifact's file.
    pub path: PathBuf,
    /// The artifact.
    pub artifact: Artifact,
    /// What was asked of the plan.
    pub options: PlanOptions,
    /// The plan.
    pub program: Arc<Program>,
}

/// What `keygen` keeps so that every later process plans the same program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// Digest of the artifact's graph.
    pub model_digest: String,
    /// How values share ciphertexts.
    pub packing: Packing,
    /// Images that share ciphertexts in the image layout.
    #[serde(default = "one")]
    pub images: usize,
    /// Bits asked for.
    pub precision_bits: u32,
    /// Whether ciphertexts may be bootstrapped.
    pub bootstrapping: Bootstrapping,
    /// Whether the client computes the first layers.
    #[serde(default)]
    pub embedded: bool,
}

fn one() -> usize {
    1
}

impl Planned {
    /// Plan the model a command names.
    ///
    /// # Errors
    /// A model that cannot be read, or has no encrypted run.
    pub fn new(context: &Context, args: &PlanArgs) -> anyhow::Result<Self> {
        let path = find_model(context, &args.model)?;
        let he = run_config(&path)?.map(|c| c.he);
        let artifact = Artifact::read(&path)?;
        Self::with_options(path, artifact, options(&args.how, he.as_ref()))
    }

    /// Plan a model as `keygen` did.
    ///
    /// # Errors
    /// Another model than the keys were made for; files that cannot be read.
    pub fn for_keys(context: &Context, model: &Path, keys: &Path) -> anyhow::Result<Self> {
        let path = find_model(context, model)?;
        let file = keys.join("plan.json");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("{}\n  help: `hetrain keygen` writes this folder; a server gets copies of plan.json and evaluation.keys, never secret.key", file.display()))?;
        let stored: PlanFile = serde_json::from_str(&text).with_context(|| {
            format!("{}: not a plan of `hetrain keygen`\n  help: make the keys again", file.display())
        })?;
        let options = PlanOptions {
            packing: stored.packing,
            images: stored.images,
            precision_bits: stored.precision_bits,
            bootstrapping: stored.bootstrapping,
            embedded: stored.embedded,
        };
        // Before planning: what a client asks for costs nothing until it is known to be for this model.
        let artifact = Artifact::read(&path)?;
        let digest = artifact.digest()?;
        if digest != stored.model_digest {
            anyhow::bail!(
                "{}: the keys were made for another model\n  needs model {}\n  found {digest} ({})\n  help: make keys for this model: `hetrain keygen --model {} -o DIR`",
                keys.display(),
                stored.model_digest,
                path.display(),
                path.display()
            );
        }
        Self::with_options(path, artifact, options)
    }

    fn with_options(path: PathBuf, artifact: Artifact, options: PlanOptions) -> anyhow::Result<Self> {
        let program = plan(Arc::new(artifact.graph.clone()), options)
            .with_context(|| format!("{}: cannot be planned", path.display()))?;
        Ok(Self { path, artifact, options, program: Arc::new(program) })
    }

    /// The plan's price on this machine, for `parallel_runs` runs at once beside what this process holds now.
    ///
    /// # Errors
    /// As planning.
    pub fn price(&self, parallel_runs: usize) -> anyhow::Result<(Estimate, CostTable)> {
        price(&self.program, parallel_runs)
    }

    /// The price if it is at most `limit_bytes`, for which weights are held in a smaller form, or not at all, if need be.
    ///
    /// # Errors
    /// As planning; more memory than that.
    pub fn fit(&mut self, parallel_runs: usize, limit_bytes: u64) -> anyhow::Result<(Estimate, CostTable)> {
        let (mut price, mut costs) = self.price(parallel_runs)?;
        while price.peak_bytes > limit_bytes && Arc::make_mut(&mut self.program).shrink() {
            (price, costs) = self.price(parallel_runs)?;
        }
        self.program.fits(&price, limit_bytes)?;
        Ok((price, costs))
    }

    /// The plan file for these options.
    ///
    /// # Errors
    /// An artifact that cannot be digested.
    pub fn file(&self) -> anyhow::Result<PlanFile> {
        Ok(PlanFile {
            model_digest: self.artifact.digest()?,
            packing: self.options.packing,
            images: self.options.images,
            precision_bits: self.options.precision_bits,
            bootstrapping: self.options.bootstrapping,
            embedded: self.options.embedded,
        })
    }
}

/// What the command line asks of a plan, or else the configuration.
pub fn options(how: &HowArgs, he: Option<&HeSettings>) -> PlanOptions {
    let packing = match (how.layout, he.map(|h| h.layout)) {
        (Some(LayoutName::Batch), _) | (None, Some(LayoutKind::Batch)) => Packing::Batch,
        _ => Packing::Image,
    };
    let bootstrapping = he.map_or(Bootstrapping::Auto, |h| h.bootstrap);
    let precision_bits = how.precision_bits.or(he.map(|h| h.precision_bits)).unwrap_or(DEFAULT_BITS);
    let images = if packing == Packing::Image { how.batch.unwrap_or(1) as usize } else { 1 };
    let asked = how.input.map(|input| input == InputName::Embedded);
    let embedded = asked.unwrap_or(he.is_some_and(|h| h.input == InputKind::Embedded));
    PlanOptions { packing, images, precision_bits, bootstrapping, embedded }
}

/// Refuse `--batch` where it would change nothing.
///
/// # Errors
/// A batch layout, whose runs take as many images as there are slots.
pub fn check_batch(how: &HowArgs, program: &Program) -> anyhow::Result<()> {
    if how.batch.is_some() && program.packing == Packing::Batch {
        anyhow::bail!(
            "--batch changes nothing here: a run of the batch layout takes up to {} images\n  help: leave it out, or choose `--layout image`",
            program.images_per_run()
        );
    }
    Ok(())
}

/// A plan's price on this machine, for `parallel_runs` runs at once beside what this process holds now.
///
/// # Errors
/// As planning.
pub fn price(program: &Program, parallel_runs: usize) -> anyhow::Result<(Estimate, CostTable)> {
    let costs = bench::costs(program.chain.params.literal().log_n)?;
    let price = estimate(program, &costs)?;
    let resident = resident_memory().unwrap_or(price.resident_bytes);
    Ok((price.beside(resident, parallel_runs), costs))
}

/// Most bytes a process may hold: as asked, or what it holds and the system still has.
///
/// # Errors
/// A limit that is not a positive number.
pub fn memory_limit(max_memory: Option<f64>) -> anyhow::Result<u64> {
    match max_memory {
        Some(gb) if gb.is_finite() && gb > 0.0 => Ok((gb * 1e9) as u64),
        Some(gb) => anyhow::bail!(
            "--max-memory needs a positive number of GB, found {gb}\n  help: leave it out to use what the system has free"
        ),
        None => Ok(available_memory().map_or(u64::MAX, |free| free + resident_memory().unwrap_or(0))),
    }
}

/// The artifact's file: as given, or of a run.
pub fn find_model(context: &Context, model: &Path) -> anyhow::Result<PathBuf> {
    if model.is_file() {
        return Ok(model.to_path_buf());
    }
    let name = model.display();
    let folder = match RunDir::find(&context.global.runs, model) {
        Ok(folder) => folder,
        Err(RunError::NoRun { seen, .. }) => anyhow::bail!(
            "{name}: no such artifact or run\n{seen}\n  help: `hetrain train` writes runs/NAME/model.hemodel"
        ),
        Err(other) => return Err(other.into()),
    };
    let path = folder.join("model.hemodel");
    if path.is_file() {
        return Ok(path);
    }
    anyhow::bail!("{}: the run has no artifact yet\n  help: `hetrain export {name}`", folder.display())
}

/// The configuration of the run an artifact lies in, if it lies in one.
///
/// # Errors
/// A configuration that cannot be read.
pub fn run_config(model: &Path) -> anyhow::Result<Option<RunConfig>> {
    let file = model.with_file_name("config.yaml");
    if !file.is_file() {
        return Ok(None);
    }
    Ok(Some(RunConfig::load(&file, &[])?))
}

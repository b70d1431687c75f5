//! Command-line arguments, and nothing else.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::device::DeviceName;

/// Train neural networks that can run on encrypted data, and prove it.
///
/// `hetrain --config quickstart` is short for `hetrain train --config quickstart`.
#[derive(Debug, Parser)]
#[command(name = "hetrain", version, max_term_width = 110, arg_required_else_help = true)]
pub struct Cli {
    /// What to do; without it, `--config` trains.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Arguments of `train`, for the short form.
    #[command(flatten)]
    pub train: TrainArgs,
    /// Arguments every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
}

/// Arguments every command takes.
#[derive(Clone, Debug, Args)]
pub struct GlobalArgs {
    /// Folder of the data sets; the config's `dir`, $HETRAIN_DATA and the user's cache are looked at after it
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Folder of the runs
    #[arg(long, global = true, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Where training runs: cpu needs nothing, the others need the cargo feature of their name
    #[arg(long, global = true, value_name = "NAME", default_value = "cpu")]
    pub device: DeviceName,
    /// Threads to use [default: one per core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// Arguments of `train`.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub struct TrainArgs {
    /// Run configuration: a YAML file, or a name in configs/
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// Change a setting: `--set data.batch=32 --set phases.0.epochs=3`
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Continue an interrupted run: its name, or its folder
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "set"])]
    pub resume: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run every phase of a config, export the network, and verify it encrypted if the config asks for it
    Train(TrainArgs),
    /// Train a polynomial student from a ReLU teacher: a run, or weights (.safetensors, .pth, .th)
    Distill(DistillArgs),
    /// List everything in a config or a model that keeps it from running encrypted, each with its remedy
    Check(CheckArgs),
    /// Write the artifact of a trained run
    Export(ExportArgs),
    /// Levels, keys, memory, seconds and precision of an encrypted run on this machine, before paying for it
    Estimate(EstimateArgs),
    /// Climb the accuracy ladder over a test set, down to ciphertexts
    VerifyEncrypted(VerifyArgs),
    /// Write the report of a run as one self-contained HTML page
    Report(ReportArgs),
    /// Measure this machine once; estimates are made from the result
    Bench,
    /// Make a secret key, and the evaluation keys a server needs for one model (run by the client)
    Keygen(KeygenArgs),
    /// Let a language model go on with a text, in the clear
    Generate(GenerateArgs),
    /// Encrypt an image or the end of a text (run by the client)
    Encrypt(EncryptArgs),
    /// Evaluate a model on ciphertexts, without any secret (run by the server)
    Infer(InferArgs),
    /// Decrypt a result: class and logits (run by the client)
    Decrypt(DecryptArgs),
    /// Fetch a public data set into the cache folder (needs the cargo feature `download`)
    Download(DownloadArgs),
}

/// A model and what its encrypted run shall keep.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// The artifact: a .hemodel file, or a run's name or folder
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// What its run shall keep.
    #[command(flatten)]
    pub how: HowArgs,
}

/// What an encrypted run shall keep.
#[derive(Clone, Debug, Default, Args)]
pub struct HowArgs {
    /// How values share ciphertexts [default: as the run's config says, else image]
    #[arg(long, value_name = "NAME")]
    pub layout: Option<LayoutName>,
    /// Bits of the logits, relative to their range, that shall survive [default: as the run's config says, else 12]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(1..=40))]
    pub precision_bits: Option<u32>,
    /// Images to a run: in the image layout 1, 2, 4, … that share ciphertexts [default: 1]; in the batch layout [default: as many
    /// as fit]
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u64).range(1..))]
    pub batch: Option<u64>,
    /// What the client encrypts [default: as the run's config says, else the sample]
    #[arg(long, value_name = "WHAT")]
    pub input: Option<InputName>,
}

/// What the client encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum InputName {
    /// The sample
    Sample,
    /// What the linear layers before anything else make of it, such as the embeddings of tokens
    Embedded,
}

/// How values share ciphertexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LayoutName {
    /// One image spread over slots: least latency
    Image,
    /// One image to a slot, thousands at once: most throughput
    Batch,
}

/// Arguments of `estimate`.
#[derive(Clone, Debug, Args)]
pub struct EstimateArgs {
    /// The network of a configuration, untrained: a YAML file, or a name in configs/
    #[arg(long, value_name = "FILE", required_unless_present = "model", conflicts_with = "model")]
    pub config: Option<String>,
    /// Change a setting of the configuration: `--set model.attention=gaussian`
    #[arg(long, value_name = "KEY=VALUE", requires = "config")]
    pub set: Vec<String>,
    /// The artifact: a .hemodel file, or a run's name or folder
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// What its run shall keep.
    #[command(flatten)]
    pub how: HowArgs,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `verify-encrypted`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// What to run.
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Data set [default: the one the model was trained for]
    #[arg(long, value_name = "NAME")]
    pub data: Option<String>,
    /// Test images in the encrypted rung [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub samples: Option<u64>,
    /// Test images in the clear rungs [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub clear_samples: Option<u64>,
    /// Test images in the packed program, the slowest of the clear rungs [default: those of the clear rungs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub packed_samples: Option<u64>,
    /// Most memory the run may take, in GB [default: what the system has free]
    #[arg(long, value_name = "GB")]
    pub max_memory: Option<f64>,
    /// Also decrypt every layer of a few images, with the secret key, and compare it with the clear program
    #[arg(long)]
    pub compare_layers: bool,
    /// Folder for ladder.jsonl and ladder.json [default: that of a run's model, where the report is written anew too; NAME.ladder
    /// beside any other NAME.hemodel]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Arguments of `report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// The run: its name, or its folder
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
}

/// Arguments of `keygen`.
#[derive(Clone, Debug, Args)]
pub struct KeygenArgs {
    /// What to make keys for.
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Folder for secret.key, evaluation.keys and plan.json; only the last two are for the server
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
}

/// Arguments of `generate`.
#[derive(Clone, Debug, Args)]
pub struct GenerateArgs {
    /// The artifact of a language model: a .hemodel file, or a run's name or folder
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// What to go on from [default: the beginning of a line]
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Letters to write; of a model whose `data.tokens` are several letters, tokens
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub length: usize,
    /// 0: always the likeliest letter; 1: as likely as the model says
    #[arg(long, value_name = "T", default_value_t = 0.8, value_parser = temperature)]
    pub temperature: f64,
    /// Another seed, another text
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The original network of the run writes, not the polynomial one
    #[arg(long)]
    pub original: bool,
    /// Say in the end how likely the original network of the run finds what was written
    #[arg(long)]
    pub judge: bool,
}

fn temperature(text: &str) -> Result<f64, String> {
    let parsed = text.parse::<f64>().ok().filter(|t| t.is_finite() && *t >= 0.0);
    parsed.ok_or_else(|| "needs a number of at least 0, such as 0.8".into())
}

/// Arguments of `encrypt`.
#[derive(Clone, Debug, Args)]
pub struct EncryptArgs {
    /// The artifact: a .hemodel file, or a run's name or folder
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Folder with plan.json and secret.key, as `keygen` wrote it
    #[arg(long, value_name = "DIR")]
    pub keys: PathBuf,
    /// An image file of the model's size, grey or RGB
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "index"])]
    pub image: Option<PathBuf>,
    /// A text for a language model, which says what comes next
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["image", "data", "index"])]
    pub text: Option<String>,
    /// Data set to take test images from [default: the one the model was trained for]
    #[arg(long, value_name = "NAME")]
    pub data: Option<String>,
    /// Numbers of the test images, separated by commas (as many as the keys were made for at once)
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "0")]
    pub index: Vec<usize>,
    /// Where to write the ciphertexts
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// Arguments of `infer`.
#[derive(Clone, Debug, Args)]
pub struct InferArgs {
    /// The artifact: a .hemodel file, or a run's name or folder
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Folder with plan.json and evaluation.keys
    #[arg(long, value_name = "DIR")]
    pub keys: PathBuf,
    /// The encrypted input
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,
    /// Where to write the encrypted result
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Most memory the run may take, in GB [default: what the system has free]
    #[arg(long, value_name = "GB")]
    pub max_memory: Option<f64>,
}

/// Arguments of `decrypt`.
#[derive(Clone, Debug, Args)]
pub struct DecryptArgs {
    /// The artifact: a .hemodel file, or a run's name or folder
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Folder with plan.json and secret.key
    #[arg(long, value_name = "DIR")]
    pub keys: PathBuf,
    /// The encrypted result
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,
    /// Images in the result
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub samples: usize,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `download`.
#[derive(Clone, Debug, Args)]
pub struct DownloadArgs {
    /// The data set: mnist, fashion-mnist, cifar10, optdigits
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Address of a mirror with the same files, instead of the public source
    #[arg(long, value_name = "URL")]
    pub from: Option<String>,
}

/// Arguments of `distill`.
#[derive(Clone, Debug, Args)]
pub struct DistillArgs {
    /// Run configuration: a YAML file, or a name in configs/
    #[arg(long, value_name = "FILE")]
    pub config: String,
    /// The teacher, which is also the start: a run's name or folder, or a weights file
    #[arg(long, value_name = "RUN|FILE")]
    pub teacher: String,
    /// Change a setting: `--set data.batch=32 --set phases.0.epochs=3`
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Arguments of `check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// A run configuration: a YAML file, or a name in configs/
    #[arg(long, value_name = "FILE", required_unless_present = "model", conflicts_with = "model")]
    pub config: Option<String>,
    /// Change a setting of the configuration: `--set model.attention=gaussian`
    #[arg(long, value_name = "KEY=VALUE", requires = "config")]
    pub set: Vec<String>,
    /// An artifact: a .hemodel file, or a run's name or folder
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
}

/// Arguments of `export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// The run: its name, or its folder
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Where to write [default: model.hemodel in the run's folder]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

//! The last rung: every image encrypted, evaluated by a server that has no secret key, and decrypted.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::Context as _;
use he_infer::{
    HeError,
    ckks::{Ciphertext, Context},
    math::sampling::os_rng,
    plan::{PlannedNode, Program, estimate},
    run::{Client, Observer, Prepared, Server, execute},
    slots::{CkksSlots, ClearSlots, ClearVec},
};

use super::{
    Job, Ladder, Record, Rung,
    clear::{fresh, label, stopped},
    compare::left,
    machine,
};
use crate::data::input_of;
use crate::progress::{Count, say};

/// Images whose layers are compared on request: enough to see a layer that loses bits, few enough to wait for.
pub(super) const COMPARED: usize = 3;

/// Times and sizes of the encrypted runs.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Seconds for the evaluation keys.
    pub key_seconds: f64,
    /// Seconds for the weights.
    pub weights_seconds: f64,
    /// Mean seconds of encoding and encryption, per run.
    pub encrypt_seconds: f64,
    /// Mean seconds from fresh ciphertexts to result ciphertexts, per run.
    pub infer_seconds: f64,
    /// Mean seconds of decryption, per run.
    pub decrypt_seconds: f64,
    /// Mean seconds of each node.
    pub node_seconds: Vec<f64>,
    /// Bits that agree with the packed program at each node, worst over the compared images.
    pub node_bits: BTreeMap<usize, f64>,
    /// Runs.
    pub runs: usize,
    /// Wall seconds of the whole rung per image, encoding, encryption and decryption included; keys and weights are not.
    pub seconds_per_image: f64,
    /// Peak memory of the rung, where the system tells.
    pub peak_bytes: Option<u64>,
    /// The same as predicted just before.
    pub estimated_peak_bytes: u64,
}

/// Times every node, says how far the run is, and ends it when the user wants to stop.
struct Watch<'a, F: FnMut(f64, &str)> {
    job: &'a Job<'a>,
    /// Share of each node in the seconds of a run, by the estimate.
    shares: &'a [f64],
    progress: F,
    last: Instant,
    seconds: Vec<f64>,
}

impl<F: FnMut(f64, &str)> Observer<CkksSlots<'_>> for Watch<'_, F> {
    fn node(&mut self, index: usize, node: &PlannedNode, _: &[Ciphertext]) -> Result<(), HeError> {
        let now = Instant::now();
        self.seconds.push((now - self.last).as_secs_f64());
        self.last = now;
        (self.progress)(self.shares.get(index).copied().unwrap_or(0.0), &node.name);
        if stopped(self.job).is_err() { Err(HeError::Stopped) } else { Ok(()) }
    }

    fn refreshed(&mut self) -> Result<(), HeError> {
        let now = Instant::now();
        if let Some(last) = self.seconds.last_mut() {
            *last += (now - self.last).as_secs_f64();
        }
        self.last = now;
        Ok(())
    }
}

/// Runs beside each other. Single images are; a run that takes several, or bootstraps large ciphertexts, splits well over all
/// threads.
pub fn parallel_runs(program: &Program, threads: usize, runs: usize) -> usize {
    let alone = program.images_per_run() > 1 || program.refreshing.is_some();
    if alone { 1 } else { threads.min(runs).max(1) }
}

struct Totals<'l> {
    ladder: &'l mut Ladder,
    encrypt: f64,
    infer: f64,
    decrypt: f64,
    nodes: Vec<f64>,
    runs: usize,
    count: Count,
}

/// Climb the encrypted rung for the images that are missing; `None` when there is nothing to do.
pub(super) fn rung(job: &Job<'_>, ladder: &mut Ladder) -> anyhow::Result<Option<Measured>> {
    let missing = ladder.missing(Rung::Encrypted, job.encrypted);
    if missing.is_empty() && !job.compare_layers {
        return Ok(None);
    }
    // Before there are keys and weights, beside which those of the clear program would not fit.
    let compared = if job.compare_layers { job.encrypted.min(COMPARED) } else { 0 };
    let clear = packed_nodes(job, &(0..compared).collect::<Vec<_>>())?;
    let mut program = Arc::clone(&job.program);
    let per_run = job.batch.unwrap_or(usize::MAX).clamp(1, program.images_per_run());
    let runs: Vec<&[usize]> = missing.chunks(per_run).collect();
    let workers = parallel_runs(&program, job.threads, runs.len());
    let threads_per_run = (job.threads / workers).max(1);
    // The clear rungs may have left memory with the process: price the run beside what is held now, before taking more.
    let resident = machine::resident_memory().unwrap_or(job.estimate.resident_bytes);
    let mut price = job.estimate.clone().beside(resident, workers);
    while price.peak_bytes > job.max_bytes && Arc::make_mut(&mut program).shrink() {
        price = estimate(&program, &job.costs)?.beside(resident, workers);
    }
    program.fits(&price, job.max_bytes)?;
    machine::reset_peak();
    let pool = |n: usize| rayon::ThreadPoolBuilder::new().num_threads(n).build().context("thread pool");
    let all = pool(job.threads)?;

    let mut rng = os_rng()?;
    let context = Arc::new(Context::new(&program.chain.params)?);
    let started = Instant::now();
    let client = Client::generate(Arc::clone(&program), Arc::clone(&context), &mut rng);
    let keys = all.install(|| client.evaluation_keys(&mut rng))?;
    let key_seconds = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let server = all.install(|| Server::new(Arc::clone(&program), &context, &keys))?;
    let weights_seconds = started.elapsed().as_secs_f64();

    let totals = Mutex::new(Totals {
        ladder,
        encrypt: 0.0,
        infer: 0.0,
        decrypt: 0.0,
        nodes: vec![0.0; program.nodes.len()],
        runs: 0,
        count: Count::new(Rung::Encrypted.title(), missing.len()),
    });
    let whole: f64 = price.nodes.iter().map(|n| n.seconds).sum();
    let shares: Vec<f64> = price.nodes.iter().map(|n| n.seconds / whole.max(f64::MIN_POSITIVE)).collect();
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let work = || -> anyhow::Result<()> {
        let pool = pool(threads_per_run)?;
        let mut rng = os_rng()?;
        while let Some(samples) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            stopped(job)?;
            let images: Vec<Vec<f64>> = samples.iter().map(|&s| input_of(job.test, s)).collect();
            let (input, encrypt) = timed(|| {
                pool.install(|| -> Result<Vec<Ciphertext>, HeError> {
                    let fresh = client.encrypt(&images, &mut rng)?;
                    fresh.iter().map(|c| Ok(context.expand_ciphertext(c)?)).collect()
                })
            });
            let input = input?;
            let progress = |share: f64, at: &str| {
                let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                totals.count.within(share * samples.len() as f64, at);
            };
            let mut watch =
                Watch { job, shares: &shares, progress, last: Instant::now(), seconds: Vec::new() };
            let (result, infer) = timed(|| pool.install(|| server.infer_observed(input, &mut watch)));
            let (result, node_seconds) = (result, watch.seconds);
            stopped(job)?;
            let result = result?;
            let (logits, decrypt) = timed(|| pool.install(|| client.decrypt(&result, images.len())));
            let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
            let logits = match logits {
                // An image that left an interval in the clear has no result here either, and takes along what it shares ciphertexts
                // with. Without one, wild values are somebody's mistake.
                Err(HeError::Implausible { .. }) if samples.iter().any(|&s| left(totals.ladder, s)) => {
                    vec![vec![f64::NAN; job.test.classes]; samples.len()]
                }
                logits => logits?,
            };
            for (&sample, logits) in samples.iter().zip(logits) {
                totals.ladder.push(Record::new(Rung::Encrypted, sample, label(job, sample), &logits, 0))?;
            }
            totals.encrypt += encrypt;
            totals.infer += infer;
            totals.decrypt += decrypt;
            totals.nodes.iter_mut().zip(&node_seconds).for_each(|(t, s)| *t += s);
            totals.runs += 1;
            totals.count.add(samples.len());
        }
        Ok(())
    };
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for handle in handles {
            match handle.join() {
                Ok(result) => result?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    })?;
    let elapsed = started.elapsed().as_secs_f64();
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    totals.count.finish();
    let peak_bytes = machine::peak_memory();
    let mean = |total: f64| if totals.runs == 0 { 0.0 } else { total / totals.runs as f64 };
    let mut measured = Measured {
        key_seconds,
        weights_seconds,
        encrypt_seconds: mean(totals.encrypt),
        infer_seconds: mean(totals.infer),
        decrypt_seconds: mean(totals.decrypt),
        node_seconds: totals.nodes.iter().map(|&s| mean(s)).collect(),
        node_bits: BTreeMap::new(),
        runs: totals.runs,
        seconds_per_image: elapsed / missing.len().max(1) as f64,
        peak_bytes,
        estimated_peak_bytes: price.peak_bytes,
    };
    if job.compare_layers {
        say(
            "  WARNING: --compare-layers decrypts every layer with the secret key; for your own machine and data only",
        );
        for (sample, clear) in clear.into_iter().enumerate() {
            stopped(job)?;
            for (index, bits) in layers(job, &client, &context, &server, sample, clear)? {
                let worst = measured.node_bits.entry(index).or_insert(bits);
                *worst = worst.min(bits);
            }
        }
        for (index, bits) in &measured.node_bits {
            let Some(node) = program.nodes.get(*index) else { continue };
            let predicted = node.bits_over(compared);
            say(&format!("    {:<24} {bits:6.1} bits agree, {predicted:6.1} predicted", node.name));
        }
    }
    Ok(Some(measured))
}

/// Decrypts every node with the secret key and compares it with the packed program's value.
struct Compare<'a> {
    client: &'a Client,
    clear: Vec<Vec<f64>>,
    bits: Vec<(usize, f64)>,
}

impl Observer<CkksSlots<'_>> for Compare<'_> {
    fn node(&mut self, index: usize, node: &PlannedNode, value: &[Ciphertext]) -> Result<(), HeError> {
        let got = self.client.decrypt_node(index, value, 1)?;
        let want = self.clear.get(index).map(Vec::as_slice).unwrap_or_default();
        let worst = got.iter().flatten().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        self.bits.push((index, node.bits_of(worst)));
        Ok(())
    }
}

/// Keeps the packed program's value of every node.
pub(super) struct Keep<'a> {
    pub(super) program: &'a he_infer::plan::Program,
    pub(super) values: Vec<Vec<f64>>,
}

impl Observer<ClearSlots> for Keep<'_> {
    fn node(&mut self, index: usize, _: &PlannedNode, value: &[ClearVec]) -> Result<(), HeError> {
        let slots: Vec<Vec<f64>> = value.iter().map(|v| v.slots.clone()).collect();
        self.values.push(self.program.unpack(index, &slots, 1).into_iter().next().unwrap_or_default());
        Ok(())
    }
}

/// Every node's value of some images by the packed program.
pub(super) fn packed_nodes(job: &Job<'_>, samples: &[usize]) -> anyhow::Result<Vec<Vec<Vec<f64>>>> {
    if samples.is_empty() {
        return Ok(Vec::new());
    }
    let slots = ClearSlots::of(&job.program);
    let prepared = Prepared::new(&slots, &job.program)?;
    let one = |&sample: &usize| {
        let mut keep = Keep { program: &job.program, values: Vec::new() };
        let input = fresh(&job.program, &slots, &[input_of(job.test, sample)])?;
        execute(&slots, &job.program, &prepared, input, &mut keep)?;
        Ok(keep.values)
    };
    samples.iter().map(one).collect()
}

/// Bits of every node of one image, whose values in the clear are known.
fn layers(
    job: &Job<'_>,
    client: &Client,
    context: &Context,
    server: &Server<'_>,
    sample: usize,
    clear: Vec<Vec<f64>>,
) -> anyhow::Result<Vec<(usize, f64)>> {
    let mut rng = os_rng()?;
    let mut compare = Compare { client, clear, bits: Vec::new() };
    let input = client.encrypt(&[input_of(job.test, sample)], &mut rng)?;
    let input = input.iter().map(|c| context.expand_ciphertext(c)).collect::<Result<Vec<_>, _>>()?;
    server.infer_observed(input, &mut compare)?;
    Ok(compare.bits)
}

/// Run one image encrypted under a fresh key and compare every node with `clear`: for finding where rungs part.
pub(super) fn diagnose(
    job: &Job<'_>,
    sample: usize,
    clear: Vec<Vec<f64>>,
) -> anyhow::Result<Vec<(usize, f64)>> {
    let mut rng = os_rng()?;
    let context = Arc::new(Context::new(&job.program.chain.params)?);
    let client = Client::generate(Arc::clone(&job.program), Arc::clone(&context), &mut rng);
    let keys = client.evaluation_keys(&mut rng)?;
    let server = Server::new(Arc::clone(&job.program), &context, &keys)?;
    let mut compare = Compare { client: &client, clear, bits: Vec::new() };
    let input = client.encrypt(&[input_of(job.test, sample)], &mut rng)?;
    let input = input.iter().map(|c| context.expand_ciphertext(c)).collect::<Result<Vec<_>, _>>()?;
    server.infer_observed(input, &mut compare)?;
    Ok(compare.bits)
}

fn timed<T>(f: impl FnOnce() -> T) -> (T, f64) {
    let started = Instant::now();
    let value = f();
    (value, started.elapsed().as_secs_f64())
}

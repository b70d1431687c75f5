//! The price of a program before it is paid: seconds, bytes, rotations, bits, per node and in all.

use serde::Serialize;

use super::program::{Keep, Packing, PlannedNode, Program, Step};
use crate::HeError;
use crate::ckks::{KeySpec, turning_bytes};
use crate::kernels::polynomial::scheme_of;
use crate::math::poly::limb_stride;
use crate::run::{self, Observer, Prepared};
use crate::slots::{CostCounter, CostTable, CostVec, Tally};

/// The price of one node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeEstimate {
    /// The node's name.
    pub name: String,
    /// The operation.
    pub op: &'static str,
    /// Level of its operands.
    pub level_in: usize,
    /// Level of its result.
    pub level_out: usize,
    /// Ciphertexts of its result.
    pub ciphertexts: usize,
    /// Rotations.
    pub rotations: u64,
    /// Plaintext products (image packing).
    pub plaintexts: u64,
    /// Bootstraps of its result.
    pub bootstraps: usize,
    /// Seconds on one thread, bootstraps included.
    pub seconds: f64,
    /// Bytes of prepared weights.
    pub weight_bytes: u64,
    /// Predicted bits of precision.
    pub bits: f64,
}

/// The price of a program.
#[derive(Clone, Debug, Serialize)]
pub struct Estimate {
    /// log₂ of the ring degree.
    pub log_n: u32,
    /// log₂ of the whole modulus, and the largest the security table allows.
    pub log_qp: f64,
    /// The table's limit.
    pub log_qp_limit: f64,
    /// Levels.
    pub levels: usize,
    /// Per node.
    pub nodes: Vec<NodeEstimate>,
    /// Seconds from fresh ciphertext to result, one thread.
    pub seconds: f64,
    /// Seconds to make keys and prepare weights, one thread.
    pub preparation_seconds: f64,
    /// Bootstraps of one run.
    pub bootstraps: usize,
    /// Rotation keys.
    pub rotation_keys: usize,
    /// Bytes of evaluation keys in memory.
    pub key_bytes: u64,
    /// Bytes of prepared weights.
    pub weight_bytes: u64,
    /// Bytes of ciphertexts alive at the worst node of one run.
    pub working_bytes: u64,
    /// Bytes the process holds before it takes keys and weights: data, the plan itself, tables.
    pub resident_bytes: u64,
    /// Runs beside each other.
    pub parallel_runs: usize,
    /// Bytes of one encrypted input on the wire.
    pub input_bytes: u64,
    /// Peak memory of a run.
    pub peak_bytes: u64,
    /// Images one run takes.
    pub images_per_run: usize,
    /// Predicted bits of the logits.
    pub bits: f64,
}

/// Ciphertexts at the top level that a bootstrap works in, as measured.
const BOOTSTRAP_CIPHERTEXTS: u64 = 20;

/// What a process takes before it has done anything, where nobody measured it.
const BASE_BYTES: u64 = 40 << 20;

impl Estimate {
    /// The same price for a process that already holds `resident_bytes` and does `parallel_runs` runs at once.
    #[must_use]
    pub fn beside(mut self, resident_bytes: u64, parallel_runs: usize) -> Self {
        self.resident_bytes = resident_bytes;
        self.parallel_runs = parallel_runs.max(1);
        self.peak_bytes = resident_bytes
            + self.key_bytes
            + self.weight_bytes
            + self.parallel_runs as u64 * self.working_bytes;
        self
    }
}

struct PerNode<'a> {
    counter: &'a CostCounter,
    before: Tally,
    tallies: Vec<Tally>,
}

impl Observer<CostCounter> for PerNode<'_> {
    fn node(&mut self, _: usize, _: &PlannedNode, _: &[CostVec]) -> Result<(), HeError> {
        let now = self.counter.tally();
        self.tallies.push(now.since(&self.before));
        self.before = now;
        Ok(())
    }

    fn refreshed(&mut self) -> Result<(), HeError> {
        let now = self.counter.tally();
        if let Some(last) = self.tallies.last_mut() {
            *last = last.plus(&now.since(&self.before));
        }
        self.before = now;
        Ok(())
    }
}

/// Bytes of a ciphertext at `level`.
fn ciphertext_bytes(n: usize, level: usize) -> u64 {
    2 * (level as u64 + 1) * 8 * limb_stride(n) as u64
}

/// Ciphertext bytes alive while each node is computed: values that wait for later readers, operands, what is made on the way, the result.
fn working_bytes(program: &Program, n: usize) -> impl Iterator<Item = u64> {
    let mut last = vec![0; program.nodes.len()];
    for (index, node) in program.nodes.iter().enumerate() {
        node.inputs.iter().filter_map(|&i| last.get_mut(i).map(|last| *last = index)).for_each(drop);
    }
    program.nodes.iter().enumerate().map(move |(index, node)| {
        let earlier = program.nodes.iter().zip(&last).take(index).filter(|(_, last)| **last > index);
        let held = |x: &PlannedNode| program.vectors(x) as u64 * ciphertext_bytes(n, program.level_read(x));
        earlier.map(|(x, _)| held(x)).sum::<u64>() + own_bytes(program, node, n)
    })
}

/// Bytes of a node's operands, of what is made on the way, and of its result.
fn own_bytes(program: &Program, node: &PlannedNode, n: usize) -> u64 {
    let ct = |level: usize, count: usize| count as u64 * ciphertext_bytes(n, level);
    let turned = |level: usize, count: usize| {
        ct(level, count) + turning_bytes(program.chain.params.literal(), level, count)
    };
    let operands = node.inputs.iter().filter_map(|&i| program.nodes.get(i)).enumerate();
    let inputs: u64 = operands.map(|(at, x)| ct(node.operand_level(at), program.vectors(x))).sum();
    let inner = match &*node.step {
        Step::Linear(map) => {
            let babies: usize = map.babies.iter().map(Vec::len).sum();
            let beside = map.babies.iter().map(Vec::len).max().unwrap_or(0);
            let giants = map.outputs.iter().map(Vec::len).max().unwrap_or(0);
            ct(node.level_in, babies + giants - beside) + turned(node.level_in, beside)
        }
        Step::Sums { matrix, .. } => ct(node.level_in, matrix.rows.len()),
        Step::Scores(tokens) => turned(node.level_in, tokens.turns().len()),
        // Rotated values, and the same multiplied with what they are weighted by besides.
        Step::Mixed { tokens, factors } => {
            let (level, turns) = (node.operand_level(1), tokens.turns().len());
            turned(level, turns) + if factors.is_empty() { 0 } else { ct(level, turns) }
        }
        Step::Polynomial { poly, .. } => {
            ct(node.level_in, program.vectors(node) * scheme_of(poly, node.level_in).alive())
        }
        _ => 0,
    };
    inputs + inner + ct(node.level, program.vectors(node))
}

/// Price `program` with a machine's cost table.
///
/// # Errors
/// As the counting run reports.
pub fn estimate(program: &Program, costs: &CostTable) -> Result<Estimate, HeError> {
    let params = program.chain.params.literal();
    let n = 1usize << params.log_n;
    let costs = costs.at(params.log_n);
    let counter = program.counter();
    let prepared = Prepared::counted(&counter, program)?;
    let mut per_node = PerNode { counter: &counter, before: counter.tally(), tallies: Vec::new() };
    let weights = counter.tally();
    run::execute(&counter, program, &prepared, program.fresh_cost(), &mut per_node)?;
    let nodes: Vec<NodeEstimate> = program
        .nodes
        .iter()
        .zip(&per_node.tallies)
        .map(|(node, tally)| {
            let plaintexts = match &*node.step {
                Step::Linear(map) => map.products() as u64,
                _ => 0,
            };
            NodeEstimate {
                name: node.name.clone(),
                op: node.op,
                level_in: node.level_in,
                level_out: node.level,
                ciphertexts: program.vectors(node),
                rotations: tally.rotations,
                plaintexts,
                bootstraps: if node.refreshed { program.vectors(node) } else { 0 },
                seconds: costs.seconds(tally) + costs.encoding(tally),
                weight_bytes: program.weight_bytes(node),
                bits: node.bits,
            }
        })
        .collect();
    let bootstrap = program.refreshing.as_ref().map(|r| &r.cost);
    let key_bytes = program.key_bytes();
    let each = nodes.iter().map(|x| x.weight_bytes);
    let kept: u64 = if program.keep == Keep::Nowhere { each.max().unwrap_or(0) } else { each.sum() };
    let weight_bytes = kept + bootstrap.map_or(0, |b| b.matrix_bytes);
    let working = working_bytes(program, n).max().unwrap_or(0);
    // A bootstrap's sums of giant steps over the extended basis, and the pool of buffers that outlives it.
    let working =
        working + bootstrap.map_or(0, |_| BOOTSTRAP_CIPHERTEXTS * ciphertext_bytes(n, params.max_level()));
    let key_words = (key_bytes / program.key_halves()) as f64 / 8.0;
    let preparation = costs.encoding(&weights) + key_words * costs.key_word;
    let (level, _) = program.input_level_scale();
    let price = Estimate {
        log_n: params.log_n,
        log_qp: params.log_qp(),
        log_qp_limit: crate::ckks::max_log_qp(params.log_n).map_or(0.0, f64::from),
        levels: params.max_level(),
        seconds: nodes.iter().map(|x| x.seconds).sum(),
        preparation_seconds: preparation,
        bootstraps: program.bootstraps(),
        rotation_keys: program.key_spec().rotations.len(),
        key_bytes,
        weight_bytes,
        working_bytes: working,
        // A fresh ciphertext travels as one polynomial and a seed.
        input_bytes: program.input_vectors() as u64 * params.polynomial_bytes(level),
        resident_bytes: 0,
        parallel_runs: 1,
        peak_bytes: 0,
        images_per_run: program.images_per_run(),
        bits: program.predicted_bits(),
        nodes,
    };
    Ok(price.beside(BASE_BYTES, 1))
}

impl Program {
    /// Halves of each evaluation key that are held: where ciphertexts are refreshed, one is made from its seed whenever it is used.
    fn key_halves(&self) -> u64 {
        if self.refreshing.is_some() { 1 } else { 2 }
    }

    /// Bytes of the evaluation keys in memory.
    pub fn key_bytes(&self) -> u64 {
        let params = self.chain.params.literal();
        let own = self
            .rotations
            .iter()
            .map(|r| r.1)
            .chain(self.relin_level)
            .map(|level| self.key_halves() * params.half_key_bytes(level, params.gadget(level)));
        own.sum::<u64>() + self.refreshing.as_ref().map_or(0, |r| r.cost.key_bytes)
    }

    /// The evaluation keys a run needs, each at the highest level it is used at.
    pub fn key_spec(&self) -> KeySpec {
        let own = KeySpec {
            relin_level: self.relin_level,
            rotations: self.rotations.clone(),
            ..KeySpec::default()
        };
        match &self.refreshing {
            Some(refreshing) => own.union(&refreshing.cost.keys),
            None => own,
        }
    }

    /// Gigabytes (10⁹) a run would need, and what would help, if that is more than `limit_bytes`.
    ///
    /// # Errors
    /// [`HeError::Memory`].
    pub fn fits(&self, estimate: &Estimate, limit_bytes: u64) -> Result<(), HeError> {
        if estimate.peak_bytes <= limit_bytes {
            return Ok(());
        }
        let gb = |b: u64| b as f64 / 1e9;
        let help = match self.packing {
            Packing::Batch => {
                "the image layout (`he.layout: image`) holds one image at a time and needs far less"
            }
            Packing::Image => {
                "raise `--max-memory`, lower `--batch`, use fewer `--threads`, lower `he.precision_bits`, or use fewer channels"
            }
        };
        Err(HeError::Memory {
            need_gb: gb(estimate.peak_bytes),
            limit_gb: gb(limit_bytes),
            parts: format!(
                "keys {:.2}, weights {:.2}, ciphertexts {} x {:.2}, held already {:.2}",
                gb(estimate.key_bytes),
                gb(estimate.weight_bytes),
                estimate.parallel_runs,
                gb(estimate.working_bytes),
                gb(estimate.resident_bytes)
            ),
            help: help.into(),
        })
    }
}

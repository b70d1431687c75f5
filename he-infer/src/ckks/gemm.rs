//! Linear layers in batch packing: a matrix of real constants times a vector of ciphertexts.
//!
//! Weights become integers `round(w * weight_scale)`, so no plaintext is encoded and no key is needed. Rows with the same
//! support (a dense layer; the output channels of a convolution at one position) are computed six at a time.

use std::collections::BTreeMap;

use super::ciphertext::Ciphertext;
use super::context::{Context, check_scale, check_scales};
use super::error::CkksError;
use super::key_id::check_owners;
use super::par;
use crate::math::gemm::{self, GROUP_ROWS, RowGroup};
use crate::math::modulus::Modulus;
use crate::math::vector::MAX_LAZY_TERMS;

/// One row of a matrix: `(input number, weight)`, each input at most once.
pub type SparseRow = Vec<(usize, f64)>;

/// Coefficients handled by one task.
const CHUNK: usize = 2048;

/// Rows that share a support, before their weights are reduced modulo a prime.
struct Block {
    inputs: Vec<u32>,
    rows: Vec<u32>,
    /// Rounded weights, `weights[k * rows.len() + r]`.
    weights: Vec<f64>,
    accumulate: bool,
}

impl Context {
    /// `out_o = sum_i w[o][i] input_i`, not rescaled: the scale becomes `scale * weight_scale`, the level stays.
    ///
    /// Weights that round to zero are skipped. Rows without weights give encryptions of zero that are trivially zero.
    ///
    /// # Errors
    /// No inputs; inputs of other parameters or of different keys, levels or scales; an input number out of range; a bad scale; a
    /// weight that is not finite or does not fit 62 bits, or the modulus, after scaling.
    pub fn matrix_const(
        &self,
        inputs: &[Ciphertext],
        weights: &[SparseRow],
        weight_scale: f64,
    ) -> Result<Vec<Ciphertext>, CkksError> {
        const OP: &str = "matrix_const";
        check_scale(OP, weight_scale)?;
        let Some(first) = inputs.first() else { return Err(CkksError::Empty { operation: OP }) };
        for ct in inputs {
            self.check_ct(OP, ct)?;
            if ct.level != first.level {
                return Err(CkksError::LevelMismatch { operation: OP, left: first.level, right: ct.level });
            }
            check_owners(OP, ("first ciphertext", first.owner), ("other ciphertext", ct.owner))?;
            check_scales(OP, first.scale, ct.scale)?;
        }
        let level = first.level;
        let blocks = group_rows(inputs.len(), weights, weight_scale, self.log_q(level), level)?;
        let groups: Vec<Vec<RowGroup>> =
            self.level_plans(level).map(|p| blocks.iter().map(|b| b.modulo(p.modulus())).collect()).collect();
        let mut out: Vec<Ciphertext> =
            weights.iter().map(|_| self.blank_ct(level, first.scale * weight_scale, first.owner)).collect();
        let mut covered = vec![false; out.len()];
        for row in blocks.iter().flat_map(|b| &b.rows) {
            covered.iter_mut().skip(*row as usize).take(1).for_each(|c| *c = true);
        }
        for (ct, _) in out.iter_mut().zip(covered).filter(|(_, c)| !c) {
            ct.c0.iter_mut().chain(ct.c1.iter_mut()).for_each(|limb| limb.fill(0));
        }
        self.run_groups(inputs, &groups, &mut out);
        Ok(out)
    }

    fn run_groups(&self, inputs: &[Ciphertext], groups: &[Vec<RowGroup>], out: &mut [Ciphertext]) {
        // tasks[(half, limb, chunk)] holds that part of every output.
        let chunks = self.n.div_ceil(CHUNK);
        let mut tasks: Vec<Vec<&mut [u64]>> = Vec::new();
        tasks.resize_with(2 * groups.len() * chunks, || Vec::with_capacity(out.len()));
        for ct in out.iter_mut() {
            let limbs = ct.c0.limbs_mut().into_iter().chain(ct.c1.limbs_mut());
            let parts = limbs.flat_map(|limb| limb.chunks_mut(CHUNK));
            tasks.iter_mut().zip(parts).for_each(|(task, part)| task.push(part));
        }
        par::for_each(tasks.into_iter().enumerate().collect(), |(index, mut outs)| {
            let (chunk, limb) = (index % chunks, index / chunks % groups.len());
            let second = index / chunks / groups.len() == 1;
            let parts: Vec<&[u64]> = inputs
                .iter()
                .map(|ct| {
                    let poly = if second { &ct.c1 } else { &ct.c0 };
                    poly.limb(limb).chunks(CHUNK).nth(chunk).unwrap_or(&[])
                })
                .collect();
            if let (Some(plan), Some(groups)) = (self.plans.get(limb), groups.get(limb)) {
                gemm::multiply(self.backend, plan.modulus(), &parts, groups, &mut outs, &mut Vec::new());
            }
        });
    }
}

impl Block {
    /// The block with weights as Montgomery residues.
    fn modulo(&self, m: &Modulus) -> RowGroup {
        RowGroup {
            inputs: self.inputs.clone(),
            rows: self.rows.clone(),
            weights: self.weights.iter().map(|w| m.to_mont(m.from_i64(*w as i64))).collect(),
            accumulate: self.accumulate,
        }
    }
}

/// Round weights and collect rows of equal support into blocks of at most six rows and `MAX_LAZY_TERMS` inputs.
fn group_rows(
    inputs: usize,
    weights: &[SparseRow],
    scale: f64,
    log_q: f64,
    level: usize,
) -> Result<Vec<Block>, CkksError> {
    const OP: &str = "matrix_const";
    let mut by_support: BTreeMap<Vec<u32>, Vec<(u32, Vec<f64>)>> = BTreeMap::new();
    for (o, row) in weights.iter().enumerate() {
        let mut sorted = Vec::with_capacity(row.len());
        for &(i, w) in row {
            if i >= inputs {
                return Err(CkksError::OutOfRange {
                    operation: OP,
                    what: "input number",
                    index: i,
                    limit: inputs,
                });
            }
            if !w.is_finite() {
                return Err(CkksError::NotFinite { operation: OP, index: i, value: w });
            }
            let rounded = (w * scale).round();
            let (needed, available) = (rounded.abs().max(1.0).log2() + 1.0, log_q.min(62.0));
            if needed >= available {
                return Err(CkksError::Overflow { operation: OP, needed, available, level });
            }
            if rounded != 0.0 {
                sorted.push((i as u32, rounded));
            }
        }
        sorted.sort_by_key(|(i, _)| *i);
        let (support, values): (Vec<u32>, Vec<f64>) = sorted.into_iter().unzip();
        if !support.is_empty() {
            by_support.entry(support).or_default().push((o as u32, values));
        }
    }
    let mut blocks = Vec::new();
    for (support, rows) in by_support {
        for rows in rows.chunks(GROUP_ROWS) {
            for (part, inputs) in support.chunks(MAX_LAZY_TERMS).enumerate() {
                let at = part * MAX_LAZY_TERMS;
                let weight = |k: usize, row: &[f64]| row.get(at + k).copied().unwrap_or(0.0);
                blocks.push(Block {
                    inputs: inputs.to_vec(),
                    rows: rows.iter().map(|(o, _)| *o).collect(),
                    weights: (0..inputs.len())
                        .flat_map(|k| rows.iter().map(move |(_, w)| weight(k, w)))
                        .collect(),
                    accumulate: part > 0,
                });
            }
        }
    }
    Ok(blocks)
}

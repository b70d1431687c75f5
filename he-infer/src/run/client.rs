//! The side that holds the secret key: packs and encrypts samples, decrypts and unpacks results.

use std::sync::Arc;

use rand::CryptoRng;
use rayon::prelude::*;

use crate::HeError;
use crate::ckks::{Ciphertext, Context, EvalKeys, SecretKey, SeededCiphertext};
use crate::plan::Program;
use crate::slots::same_scale;

/// How many times the largest value of calibration a result may reach and still count as a result: plans leave room for four
/// times it, and numbers spread over the whole modulus reach about a hundred times it or more.
const IMPLAUSIBLE: f64 = 16.0;

/// A client of one program.
pub struct Client {
    program: Arc<Program>,
    context: Arc<Context>,
    secret: SecretKey,
}

impl Client {
    /// Draw a fresh secret key for `program` from a cryptographic generator.
    pub fn generate(program: Arc<Program>, context: Arc<Context>, rng: &mut impl CryptoRng) -> Self {
        let secret = context.secret_key(rng);
        Self { program, context, secret }
    }

    /// Use an existing secret key.
    pub fn with_secret(program: Arc<Program>, context: Arc<Context>, secret: SecretKey) -> Self {
        Self { program, context, secret }
    }

    /// The secret key, to be kept by its owner.
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// The public keys the server needs for this program, and no others.
    ///
    /// # Errors
    /// A program for other parameters.
    pub fn evaluation_keys(&self, rng: &mut impl CryptoRng) -> Result<EvalKeys, HeError> {
        Ok(self.context.eval_keys(&self.secret, &self.program.key_spec(), rng)?)
    }

    /// Encrypt samples (pixels in `[0, 1]`), as many as the program takes at once. The result travels at half the size of a
    /// ciphertext; [`Context::expand_ciphertext`] completes it.
    ///
    /// # Errors
    /// Wrong number or size of samples, values that are not finite or far beyond calibration data.
    pub fn encrypt(
        &self,
        samples: &[Vec<f64>],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<SeededCiphertext>, HeError> {
        let (level, scale) = self.program.input_level_scale();
        let packed = self.program.pack(samples)?;
        // One independent seed for each ciphertext, drawn in order, so that threads cannot change the result.
        let seeds: Vec<[u8; 32]> = packed
            .iter()
            .map(|_| {
                let mut seed = [0; 32];
                rng.fill_bytes(&mut seed);
                seed
            })
            .collect();
        packed
            .par_iter()
            .zip(seeds)
            .map(|(slots, seed)| {
                let mut rng = <rand_chacha::ChaCha20Rng as rand::SeedableRng>::from_seed(seed);
                let plain = self.context.encode(slots, level, scale)?;
                Ok(self.context.encrypt_symmetric(&plain, &self.secret, &mut rng)?)
            })
            .collect()
    }

    /// Decrypt node `index` of a run on `samples` samples: element values per sample.
    ///
    /// # Errors
    /// Ciphertexts of other parameters or another key, or with another number, level or scale than the program gives the node.
    pub fn decrypt_node(
        &self,
        index: usize,
        vectors: &[Ciphertext],
        samples: usize,
    ) -> Result<Vec<Vec<f64>>, HeError> {
        if let Some(node) = self.program.nodes.get(index) {
            let (need, got) = (self.program.vectors(node), vectors.len());
            if need != got {
                let why = format!("{got} ciphertexts, node `{}` has {need}", node.name);
                return Err(HeError::Foreign { why });
            }
            if let Some(bad) =
                vectors.iter().find(|c| c.level() != node.level || !same_scale(c.scale(), node.scale))
            {
                let why = format!(
                    "level {} and scale 2^{:.2}, node `{}` has level {} and scale 2^{:.2}",
                    bad.level(),
                    bad.scale().log2(),
                    node.name,
                    node.level,
                    node.scale.log2()
                );
                return Err(HeError::Foreign { why });
            }
        }
        let max = self.program.images_per_run();
        if samples == 0 || samples > max {
            return Err(HeError::BatchSize { max, got: samples });
        }
        let slots: Vec<Vec<f64>> = vectors
            .par_iter()
            .map(|c| Ok(self.context.decrypt(&self.secret, c)?))
            .collect::<Result<_, HeError>>()?;
        Ok(self.program.unpack(index, &slots, samples))
    }

    /// Decrypt a result: logits per sample.
    ///
    /// # Errors
    /// As [`Client::decrypt_node`]; [`HeError::Implausible`] for numbers no run of the model can give.
    pub fn decrypt(&self, result: &[Ciphertext], samples: usize) -> Result<Vec<Vec<f64>>, HeError> {
        let logits = self.decrypt_node(self.program.nodes.len().saturating_sub(1), result, samples)?;
        let bound = self.program.nodes.last().map_or(f64::INFINITY, |n| n.bound);
        let worst = logits.iter().flatten().fold(0.0, |m: f64, v| m.max(v.abs()));
        if worst > IMPLAUSIBLE * bound {
            return Err(HeError::Implausible { found: worst, usual: bound });
        }
        Ok(logits)
    }
}

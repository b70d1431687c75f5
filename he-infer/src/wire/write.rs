//! Writers.

use std::io::Write;

use super::error::WireError;
use super::frame::{FrameWriter, Object};
use super::{CIPHERTEXT_OVERHEAD, MAX_LIST, SWITCH_KEY_OVERHEAD};
use crate::ckks::{
    Ciphertext, CkksParams, Context, EvalKeys, Gadget, KeyName, ParamsLiteral, PublicKey, SecretKey,
    SeededCiphertext, SwitchKey, ToyParams,
};
use crate::math::packed;
use crate::math::poly::RnsPoly;

/// Kinds of switching keys in a file.
pub(super) const RELIN: u32 = 0;
pub(super) const CONJUGATION: u32 = 1;
pub(super) const ROTATION: u32 = 2;
pub(super) const TO_SPARSE: u32 = 3;
pub(super) const FROM_SPARSE: u32 = 4;

/// Write secure parameters.
///
/// # Errors
/// [`WireError::Io`].
pub fn write_params(out: impl Write, params: &CkksParams) -> Result<(), WireError> {
    write_literal(out, params.literal(), &params.digest(), true)
}

/// Write INSECURE toy parameters; they are read back as such.
///
/// # Errors
/// [`WireError::Io`].
pub fn write_toy_params(out: impl Write, params: &ToyParams) -> Result<(), WireError> {
    write_literal(out, params.literal(), &params.digest(), false)
}

fn write_literal(
    out: impl Write,
    lit: &ParamsLiteral,
    digest: &[u8; 32],
    secure: bool,
) -> Result<(), WireError> {
    let primes = lit.q.len() + lit.p.len();
    let mut f = FrameWriter::start(out, Object::Params, digest, 5 * 4 + 8 + 8 * primes as u64)?;
    for x in [u32::from(secure), lit.log_n, lit.alpha as u32, lit.q.len() as u32, lit.p.len() as u32] {
        f.u32(x)?;
    }
    f.words(&[lit.default_scale.to_bits()])?;
    f.words(&lit.q)?;
    f.words(&lit.p)?;
    f.finish()
}

/// Write a secret key, in the clear: the caller must protect the file.
///
/// # Errors
/// [`WireError::Io`].
pub fn write_secret_key(out: impl Write, ctx: &Context, key: &SecretKey) -> Result<(), WireError> {
    check(key.id == ctx.id())?;
    let bytes = 8 + key.coefficients.len() as u64;
    let mut f = FrameWriter::start(out, Object::SecretKey, ctx.digest(), bytes)?;
    f.key_id(key.owner)?;
    f.bytes(bytemuck::cast_slice(&key.coefficients))?;
    f.finish()
}

/// Write a public key (one half and a seed).
///
/// # Errors
/// [`WireError::Unwritable`] for a key of other parameters, [`WireError::Io`].
pub fn write_public_key(out: impl Write, ctx: &Context, key: &PublicKey) -> Result<(), WireError> {
    check(key.id == ctx.id())?;
    let bytes = 8 + 32 + limb_bytes(ctx, 0..key.b.limbs());
    let mut f = FrameWriter::start(out, Object::PublicKey, ctx.digest(), bytes)?;
    f.key_id(key.owner)?;
    f.bytes(&key.seed)?;
    residues(&mut f, ctx, &key.b)?;
    f.finish()
}

/// Write evaluation keys (half of every key and a seed each).
///
/// # Errors
/// [`WireError::Unwritable`] for keys of other parameters, [`WireError::Io`].
pub fn write_eval_keys(out: impl Write, ctx: &Context, keys: &EvalKeys) -> Result<(), WireError> {
    check(keys.iter().all(|(_, k)| k.id == ctx.id()))?;
    let bytes = keys
        .iter()
        .map(|(_, k)| SWITCH_KEY_OVERHEAD + written_halves(k).map(|b| 8 * b.len() as u64).sum::<u64>())
        .sum::<u64>();
    let mut f = FrameWriter::start(out, Object::EvalKeys, ctx.digest(), 8 + 4 + bytes)?;
    f.key_id(keys.key_id())?;
    f.u32(keys.len() as u32)?;
    for (name, key) in keys.iter() {
        let (kind, step) = match name {
            KeyName::Relin => (RELIN, 0),
            KeyName::Conjugation => (CONJUGATION, 0),
            KeyName::Rotation(step) => (ROTATION, step),
            KeyName::ToSparse => (TO_SPARSE, 0),
            KeyName::FromSparse => (FROM_SPARSE, 0),
        };
        f.u32(kind)?;
        f.bytes(&step.to_le_bytes())?;
        f.u32(key.level as u32)?;
        f.u32(gadget_word(key.gadget))?;
        f.bytes(&key.seed)?;
        for b in written_halves(key) {
            f.words(b)?;
        }
    }
    f.finish()
}

/// Write a list of ciphertexts in full.
///
/// # Errors
/// [`WireError::Unwritable`] for ciphertexts of other parameters or a list that is too long, [`WireError::Io`].
pub fn write_ciphertexts(out: impl Write, ctx: &Context, list: &[Ciphertext]) -> Result<(), WireError> {
    check(list.len() <= MAX_LIST as usize && list.iter().all(|c| c.id == ctx.id()))?;
    let bytes = list.iter().map(|c| CIPHERTEXT_OVERHEAD + 2 * limb_bytes(ctx, 0..=c.level)).sum::<u64>();
    let mut f = FrameWriter::start(out, Object::Ciphertexts, ctx.digest(), 4 + bytes)?;
    f.u32(list.len() as u32)?;
    for c in list {
        f.key_id(c.owner)?;
        f.u32(c.level as u32)?;
        f.words(&[c.scale.to_bits()])?;
        residues(&mut f, ctx, &c.c0)?;
        residues(&mut f, ctx, &c.c1)?;
    }
    f.finish()
}

/// Write a list of fresh ciphertexts at half size.
///
/// # Errors
/// As for [`write_ciphertexts`].
pub fn write_seeded_ciphertexts(
    out: impl Write,
    ctx: &Context,
    list: &[SeededCiphertext],
) -> Result<(), WireError> {
    check(list.len() <= MAX_LIST as usize && list.iter().all(|c| c.id == ctx.id()))?;
    let bytes = list.iter().map(|c| CIPHERTEXT_OVERHEAD + 32 + limb_bytes(ctx, 0..=c.level)).sum::<u64>();
    let mut f = FrameWriter::start(out, Object::SeededCiphertexts, ctx.digest(), 4 + bytes)?;
    f.u32(list.len() as u32)?;
    for c in list {
        f.key_id(c.owner)?;
        f.u32(c.level as u32)?;
        f.words(&[c.scale.to_bits()])?;
        f.bytes(&c.seed)?;
        residues(&mut f, ctx, &c.c0)?;
    }
    f.finish()
}

/// A gadget in one word: a key of another release may have been made with another one.
pub(super) fn gadget_word(gadget: Gadget) -> u32 {
    (gadget.alpha as u32) << 16 | gadget.specials as u32
}

/// Bytes of residues at these moduli.
pub(super) fn limb_bytes(ctx: &Context, moduli: impl IntoIterator<Item = usize>) -> u64 {
    let moduli = moduli.into_iter().filter_map(|t| ctx.modulus(t));
    moduli.map(|m| 8 * packed::words(ctx.n(), packed::width(m.value())) as u64).sum()
}

/// The halves of a key that are written.
fn written_halves(key: &SwitchKey) -> impl Iterator<Item = &[u64]> {
    (0..key.limbs.limbs()).step_by(key.step()).map(|i| key.limbs.limb(i))
}

/// A polynomial over `q_0, q_1, ...`.
fn residues(f: &mut FrameWriter<impl Write>, ctx: &Context, poly: &RnsPoly) -> Result<(), WireError> {
    for (t, limb) in poly.iter().enumerate() {
        if let Some(m) = ctx.modulus(t) {
            f.residues(ctx.backend(), m, limb)?;
        }
    }
    Ok(())
}

fn check(ok: bool) -> Result<(), WireError> {
    let detail = "the object belongs to other parameters, or the list is too long";
    if ok { Ok(()) } else { Err(WireError::Unwritable { detail }) }
}

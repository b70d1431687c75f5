//! Readers.

use std::io::Read;

use zeroize::Zeroizing;

use super::error::WireError;
use super::frame::{FrameReader, Object};
use super::write::{CONJUGATION, FROM_SPARSE, RELIN, ROTATION, TO_SPARSE, gadget_word, limb_bytes};
use super::{CIPHERTEXT_OVERHEAD, MAX_LIST, SWITCH_KEY_OVERHEAD};
use crate::ckks::{
    Ciphertext, CkksParams, Context, EvalKeys, KeyForm, KeyName, ParamsLiteral, PublicKey, SecretKey,
    SeededCiphertext, ToyParams,
};
use crate::math::poly::RnsPoly;

/// Parameters found in a file, with the security they claim; both kinds are checked again on reading.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredParams {
    /// Inside the 128-bit table.
    Secure(CkksParams),
    /// INSECURE parameters for tests.
    Toy(ToyParams),
}

const BAD_LEVEL: WireError = WireError::Corrupt { detail: "level above the top" };

/// Read parameters.
///
/// # Errors
/// Any [`WireError`]; stored parameters that fail their checks give [`WireError::Parameters`].
pub fn read_params(input: impl Read) -> Result<StoredParams, WireError> {
    let mut f = FrameReader::start(input, Object::Params)?;
    let [secure, log_n, alpha, q, p] = [f.u32()?, f.u32()?, f.u32()?, f.u32()?, f.u32()?];
    let default_scale = f.scale()?;
    if q > 64 || p > 64 || alpha > 64 || secure > 1 {
        return Err(WireError::Corrupt { detail: "impossible chain" });
    }
    let q = (0..q).map(|_| f.u64()).collect::<Result<_, _>>()?;
    let p = (0..p).map(|_| f.u64()).collect::<Result<_, _>>()?;
    let digest = f.digest;
    f.finish()?;
    let literal = ParamsLiteral { log_n, q, p, alpha: alpha as usize, default_scale };
    let (stored, own) = if secure == 1 {
        let params = CkksParams::new(literal)?;
        let own = params.digest();
        (StoredParams::Secure(params), own)
    } else {
        let params = ToyParams::new(literal)?;
        let own = params.digest();
        (StoredParams::Toy(params), own)
    };
    if own == digest {
        Ok(stored)
    } else {
        Err(WireError::Corrupt { detail: "parameter digest does not agree" })
    }
}

/// Read a secret key.
///
/// # Errors
/// Any [`WireError`].
pub fn read_secret_key(input: impl Read, ctx: &Context) -> Result<SecretKey, WireError> {
    let mut f = start(input, Object::SecretKey, ctx)?;
    let owner = f.key_id()?;
    let bytes = f.secret(ctx.n())?;
    f.finish()?;
    let coefficients = Zeroizing::new(bytemuck::cast_slice::<u8, i8>(&bytes).to_vec());
    if coefficients.iter().any(|c| !(-1..=1).contains(c)) {
        return Err(WireError::Corrupt { detail: "secret key is not ternary" });
    }
    Ok(ctx.secret_from_coefficients(coefficients, owner))
}

/// Read a public key and expand its seed.
///
/// # Errors
/// Any [`WireError`].
pub fn read_public_key(input: impl Read, ctx: &Context) -> Result<PublicKey, WireError> {
    let mut f = start(input, Object::PublicKey, ctx)?;
    let (owner, seed) = (f.key_id()?, f.array()?);
    let basis: Vec<usize> = (0..ctx.max_level() + 2).collect();
    let b = polynomial(&mut f, ctx, &basis)?;
    f.finish()?;
    Ok(ctx.public_from_seed(b, seed, owner))
}

/// Read evaluation keys; for the expanded form their seeds are expanded (in parallel over limbs in the current rayon pool).
///
/// # Errors
/// Any [`WireError`].
pub fn read_eval_keys(input: impl Read, ctx: &Context, form: KeyForm) -> Result<EvalKeys, WireError> {
    let mut f = start(input, Object::EvalKeys, ctx)?;
    let (owner, count) = (f.key_id()?, f.u32()?);
    // The smallest keys that many could be: a wrong count is found before anything is allocated.
    let smallest = SWITCH_KEY_OVERHEAD + limb_bytes(ctx, ctx.extended_basis(0, 1));
    f.need(u64::from(count).saturating_mul(smallest))?;
    let mut keys = EvalKeys::of(owner);
    let mut last = None;
    for _ in 0..count {
        let (kind, step) = (f.u32()?, i32::from_le_bytes(f.array()?));
        let name = match kind {
            RELIN if step == 0 => KeyName::Relin,
            CONJUGATION if step == 0 => KeyName::Conjugation,
            ROTATION if step != 0 && ctx.normalise_step(step) == step => KeyName::Rotation(step),
            TO_SPARSE if step == 0 => KeyName::ToSparse,
            FROM_SPARSE if step == 0 => KeyName::FromSparse,
            _ => return Err(WireError::Corrupt { detail: "impossible key" }),
        };
        let level = level(&mut f, ctx)?;
        // One order only, which also excludes repetitions.
        if last.replace((name, level)).is_some_and(|last| last >= (name, level)) {
            return Err(WireError::Corrupt { detail: "keys repeated or out of order" });
        }
        let fixed = match name {
            KeyName::ToSparse => level == 0,
            KeyName::FromSparse => level == ctx.max_level(),
            _ => true,
        };
        if !fixed {
            return Err(WireError::Corrupt { detail: "impossible key" });
        }
        let gadget = ctx.gadget_of(name, level);
        if f.u32()? != gadget_word(gadget) {
            let detail = "a key cut into other digits than this release uses; make the keys anew";
            return Err(WireError::Corrupt { detail });
        }
        let seed = f.array()?;
        let basis = ctx.extended_basis(level, gadget.specials);
        let digits = (level + 1).div_ceil(gadget.alpha);
        f.need(digits as u64 * limb_bytes(ctx, basis.iter().copied()))?;
        let mut key = ctx.blank_key(name, level, (seed, form), owner)?;
        let step = key.step();
        for (i, limb) in key.limbs.limbs_mut().into_iter().step_by(step).enumerate() {
            let m = basis.get(i / digits).and_then(|t| ctx.modulus(*t)).ok_or(BAD_LEVEL)?;
            f.packed(ctx.backend(), m, limb)?;
        }
        ctx.expand_switch_key(&mut key);
        keys.insert(name, key);
    }
    f.finish()?;
    Ok(keys)
}

/// Read a list of full ciphertexts.
///
/// # Errors
/// Any [`WireError`].
pub fn read_ciphertexts(input: impl Read, ctx: &Context) -> Result<Vec<Ciphertext>, WireError> {
    let mut f = start(input, Object::Ciphertexts, ctx)?;
    let mut list = Vec::new();
    for _ in 0..count(&mut f, CIPHERTEXT_OVERHEAD + 2 * limb_bytes(ctx, [0]))? {
        let (owner, level, scale) = (f.key_id()?, level(&mut f, ctx)?, f.scale()?);
        let basis: Vec<usize> = (0..=level).collect();
        let c0 = polynomial(&mut f, ctx, &basis)?;
        let c1 = polynomial(&mut f, ctx, &basis)?;
        list.push(Ciphertext { c0, c1, level, scale, id: ctx.id(), owner });
    }
    f.finish()?;
    Ok(list)
}

/// Read a list of fresh ciphertexts; expand them with [`Context::expand_ciphertext`].
///
/// # Errors
/// Any [`WireError`].
pub fn read_seeded_ciphertexts(input: impl Read, ctx: &Context) -> Result<Vec<SeededCiphertext>, WireError> {
    let mut f = start(input, Object::SeededCiphertexts, ctx)?;
    let mut list = Vec::new();
    for _ in 0..count(&mut f, CIPHERTEXT_OVERHEAD + 32 + limb_bytes(ctx, [0]))? {
        let (owner, level, scale) = (f.key_id()?, level(&mut f, ctx)?, f.scale()?);
        let seed = f.array()?;
        let basis: Vec<usize> = (0..=level).collect();
        let c0 = polynomial(&mut f, ctx, &basis)?;
        list.push(SeededCiphertext { c0, seed, level, scale, id: ctx.id(), owner });
    }
    f.finish()?;
    Ok(list)
}

fn start<R: Read>(input: R, object: Object, ctx: &Context) -> Result<FrameReader<R>, WireError> {
    let f = FrameReader::start(input, object)?;
    f.check_digest(ctx.digest())?;
    Ok(f)
}

/// Length of a list whose elements have at least `smallest` bytes.
fn count<R: Read>(f: &mut FrameReader<R>, smallest: u64) -> Result<u32, WireError> {
    let count = f.u32()?;
    if count > MAX_LIST {
        return Err(WireError::Corrupt { detail: "list too long" });
    }
    f.need(u64::from(count) * smallest)?;
    Ok(count)
}

fn level<R: Read>(f: &mut FrameReader<R>, ctx: &Context) -> Result<usize, WireError> {
    let level = f.u32()? as usize;
    if level > ctx.max_level() { Err(BAD_LEVEL) } else { Ok(level) }
}

/// Residues at the moduli of `basis`.
fn polynomial<R: Read>(f: &mut FrameReader<R>, ctx: &Context, basis: &[usize]) -> Result<RnsPoly, WireError> {
    f.need(limb_bytes(ctx, basis.iter().copied()))?;
    let mut poly = RnsPoly::zero(ctx.n(), basis.len());
    for (limb, t) in poly.iter_mut().zip(basis) {
        f.residues(ctx.backend(), ctx.modulus(*t).ok_or(BAD_LEVEL)?, limb)?;
    }
    Ok(poly)
}

//! `hetrain encrypt`: an image or a text becomes ciphertexts.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, bail};
use he_infer::{ckks, math::sampling::os_rng, run::Client, wire};
use hetrain_datasets::DatasetConfig;

use super::{
    Context,
    keygen::{read, save},
    plan::{Planned, run_config},
};
use crate::{
    alphabet::{Alphabet, data_for},
    cli::EncryptArgs,
    error::io,
    progress::say,
};

/// Run the command.
///
/// # Errors
/// Keys of another model, images that do not fit, I/O.
pub fn run(context: &Context, args: &EncryptArgs) -> anyhow::Result<()> {
    let planned = Planned::for_keys(context, &args.model, &args.keys)?;
    let images = match (&args.image, &args.text) {
        (Some(path), _) => vec![read_image(path, &planned)?],
        (None, Some(text)) => vec![read_text(text, &planned)?],
        (None, None) => test_images(context, args, &planned)?,
    };
    let most = planned.program.images_per_run();
    if images.is_empty() || images.len() > most {
        bail!(
            "--index: these keys take {most} image(s) at once, got {}\n  help: encrypt them one by one, or make keys for more: `hetrain keygen --batch 4`, or `--layout batch` for thousands",
            images.len()
        );
    }
    let engine = Arc::new(ckks::Context::new(&planned.program.chain.params)?);
    let client = client(&planned, &engine, &args.keys)?;
    let mut rng = os_rng().context("the operating system gives no randomness")?;
    let encrypted = client.encrypt(&images, &mut rng)?;
    save(&args.output, |out| wire::write_seeded_ciphertexts(out, &engine, &encrypted))?;
    say(&format!(
        "{}: {} image(s) in {} ciphertext(s)",
        args.output.display(),
        images.len(),
        encrypted.len()
    ));
    Ok(())
}

/// The client with the secret key of a folder.
///
/// # Errors
/// A folder without a secret key, or with one of other parameters.
pub fn client(planned: &Planned, engine: &Arc<ckks::Context>, keys: &Path) -> anyhow::Result<Client> {
    let path = keys.join("secret.key");
    if !path.exists() {
        bail!(
            "{}: no such file\n  help: only the client has the secret key; `hetrain keygen` makes one",
            path.display()
        );
    }
    let secret = read(&path, |file| wire::read_secret_key(file, engine))?;
    Ok(Client::with_secret(Arc::clone(&planned.program), Arc::clone(engine), secret))
}

fn test_images(context: &Context, args: &EncryptArgs, planned: &Planned) -> anyhow::Result<Vec<Vec<f64>>> {
    let run = run_config(&planned.path)?;
    let (source, seed) = match (&args.data, run) {
        (Some(name), _) => (DatasetConfig::named(name), planned.artifact.provenance.seed),
        (None, Some(run)) => (run.data.source, run.seed),
        (None, None) => {
            (DatasetConfig::named(&planned.artifact.provenance.data), planned.artifact.provenance.seed)
        }
    };
    let test = data_for(&planned.artifact, &source, context.global.data_dir.as_deref(), seed)?.test;
    let shape = planned.artifact.graph.input_shape();
    if test.shape[..] != *shape {
        bail!(
            "{}: the model takes images {shape:?}, `{}` has {:?}\n  help: name the data set the model was trained for with `--data`",
            planned.path.display(),
            source.name,
            test.shape
        );
    }
    let white = f64::from(test.white);
    args.index
        .iter()
        .map(|&i| match test.pixels_of(i) {
            Some(pixels) => Ok(pixels.iter().map(|&p| f64::from(p) / white).collect()),
            None => bail!(
                "`{}` has {} test images, there is no number {i}\n  help: they count from 0",
                source.name,
                test.len()
            ),
        })
        .collect()
}

/// A text as a language model reads it.
fn read_text(text: &str, planned: &Planned) -> anyhow::Result<Vec<f64>> {
    let alphabet = Alphabet::of(&planned.artifact)?;
    let tokens = alphabet.tokens(text)?;
    let (length, given, unit) = (alphabet.length(), tokens.len(), alphabet.unit());
    if given > length {
        bail!(
            "--text: the model reads {length} {unit}s, the text has {given}\n  help: give its last {length}; what is further back the model cannot see"
        );
    }
    Ok(alphabet.input(&tokens))
}

/// Pixels in `[0, 1]` of an image file that has the model's size.
fn read_image(path: &Path, planned: &Planned) -> anyhow::Result<Vec<f64>> {
    if Alphabet::find(&planned.artifact)?.is_some() {
        bail!("--image: the model reads text\n  help: give it `--text`, or name a model of images");
    }
    let shape = planned.artifact.graph.input_shape();
    let &[channels, height, width] = shape else { bail!("the model does not take images but {shape:?}") };
    let image = image::open(path).map_err(|e| match e {
        image::ImageError::IoError(source) => io(path)(source).into(),
        other => anyhow::anyhow!(
            "{}: {other}\n  help: name a whole PNG or JPEG file with the ending of its format",
            path.display()
        ),
    })?;
    if (image.height() as usize, image.width() as usize) != (height, width) {
        bail!(
            "{}: the model takes images of {width} by {height} pixels, this one has {} by {}\n  help: resize it",
            path.display(),
            image.width(),
            image.height()
        );
    }
    match channels {
        1 => Ok(image.to_luma8().into_raw().iter().map(|&p| f64::from(p) / 255.0).collect()),
        3 => {
            let rgb = image.to_rgb8().into_raw();
            let plane = |c: usize| rgb.iter().skip(c).step_by(3).map(|&p| f64::from(p) / 255.0);
            Ok((0..3).flat_map(plane).collect())
        }
        n => {
            bail!("image files have 1 or 3 channels, the model takes {n}\n  help: use `--data` and `--index`")
        }
    }
}

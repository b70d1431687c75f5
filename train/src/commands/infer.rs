//! `hetrain infer`: the server's part. It reads no secret.

use std::{fs::File, io::BufReader, sync::Arc, time::Instant};

use anyhow::Context as _;
use he_infer::{ckks, run::Server, wire};

use super::{
    Context,
    keygen::save,
    plan::{Planned, memory_limit},
};
use crate::{cli::InferArgs, progress::say};

/// Run the command.
///
/// # Errors
/// Keys or ciphertexts of another model, too little memory, I/O.
pub fn run(context: &Context, args: &InferArgs) -> anyhow::Result<()> {
    let planned = Planned::for_keys(context, &args.model, &args.keys)?;
    let (price, _) = planned.price(1)?;
    planned.program.fits(&price, memory_limit(args.max_memory)?)?;
    let engine = ckks::Context::new(&planned.program.chain.params)?;
    let open = |path: &std::path::Path| {
        File::open(path).map(BufReader::new).with_context(|| path.display().to_string())
    };
    let path = args.keys.join("evaluation.keys");
    let keys = wire::read_eval_keys(open(&path)?, &engine).with_context(|| path.display().to_string())?;
    let fresh = wire::read_seeded_ciphertexts(open(&args.input)?, &engine)
        .with_context(|| args.input.display().to_string())?;
    let input = fresh.iter().map(|c| engine.expand_ciphertext(c)).collect::<Result<Vec<_>, _>>()?;
    let server = Server::new(Arc::clone(&planned.program), &engine, &keys)?;
    let started = Instant::now();
    let result = server.infer(input).with_context(|| args.input.display().to_string())?;
    let seconds = started.elapsed().as_secs_f64();
    save(&args.output, |out| wire::write_ciphertexts(out, &engine, &result))?;
    say(&format!("{}: {seconds:.3} s", args.output.display()));
    Ok(())
}

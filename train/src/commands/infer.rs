//! `hetrain infer`: the server's part. It reads no secret.

use std::{sync::Arc, time::Instant};

use anyhow::Context as _;
use he_infer::{
    HeError,
    ckks::{self, CkksError},
    run::Server,
    wire,
};

use super::{
    Context,
    keygen::{read, save},
    plan::{Planned, memory_limit},
};
use crate::{cli::InferArgs, progress::say};

/// Run the command.
///
/// # Errors
/// Keys or ciphertexts of another model, too little memory, I/O.
pub fn run(context: &Context, args: &InferArgs) -> anyhow::Result<()> {
    let mut planned = Planned::for_keys(context, &args.model, &args.keys)?;
    planned.fit(1, memory_limit(args.max_memory)?)?;
    let engine = ckks::Context::new(&planned.program.chain.params)?;
    let path = args.keys.join("evaluation.keys");
    // The form that was priced: where keys are gigabytes, half of each is made from its seed when it is used.
    let form = planned.program.key_spec().form;
    let keys = read(&path, |file| wire::read_eval_keys(file, &engine, form))?;
    let fresh = read(&args.input, |file| wire::read_seeded_ciphertexts(file, &engine))?;
    let input = fresh.iter().map(|c| engine.expand_ciphertext(c)).collect::<Result<Vec<_>, _>>()?;
    let files = || format!("{} and {}", path.display(), args.input.display());
    keys.check_owner("infer", &input).with_context(files)?;
    let server = Server::new(Arc::clone(&planned.program), &engine, &keys)?;
    let started = Instant::now();
    let result = server.infer(input).map_err(|e| match e {
        HeError::Ckks(CkksError::MissingKey { .. }) => anyhow::anyhow!(
            "{}: {e}\n  help: evaluation.keys and plan.json come from different `hetrain keygen` runs; copy both again",
            path.display()
        ),
        other => anyhow::Error::from(other).context(args.input.display().to_string()),
    })?;
    let seconds = started.elapsed().as_secs_f64();
    save(&args.output, |out| wire::write_ciphertexts(out, &engine, &result))?;
    say(&format!("{}: {seconds:.3} s", args.output.display()));
    Ok(())
}

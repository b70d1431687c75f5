//! The page as a whole.

use hetrain_export::ExportError;

use super::html::escape;
use super::input::RunFiles;
use super::sections::{self, missing};
use super::{curves, layers, ranges};

const STYLE: &str = include_str!("page.css");

/// The whole page.
///
/// # Errors
/// A graph that has no digest.
pub fn render(files: &RunFiles) -> Result<String, ExportError> {
    let mut body = sections::header(files)?;
    let mut section = |heading: &str, content: String| {
        if !content.is_empty() {
            body.push_str(&format!("<section><h2>{heading}</h2>{content}</section>"));
        }
    };
    section("Accuracy ladder", sections::ladder(files)?);
    section("Training", format!("{}{}", sections::phases(&files.phases), curves::curves(&files.phases)));
    section("Activation ranges", activation_ranges(files));
    section(
        "Layers",
        match (&files.ladder, &files.artifact) {
            (Some(ladder), _) => layers::verified(ladder),
            (None, Some(artifact)) => layers::planned(&artifact.graph),
            (None, None) => String::new(),
        },
    );
    if let Some(ladder) = &files.ladder {
        let parameters = sections::parameters(&ladder.parameters);
        let timing = sections::timing(&ladder.timing, ladder.encrypted().is_some());
        section("Parameters, times and sizes", format!("<div class=\"two\">{parameters}{timing}</div>"));
    }
    let config = escape(&files.config_text);
    section("Configuration", format!("<details><summary>config.yaml</summary><pre>{config}</pre></details>"));
    let program = files.artifact.as_ref().map(|a| a.provenance.program.as_str()).unwrap_or_default();
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\"><title>{} · \
         hetrain</title><style>\n{STYLE}</style></head><body><main>{body}<footer>hetrain report{}</footer></main></body></html>\n",
        escape(&files.config.name),
        if program.is_empty() { String::new() } else { format!(" · model exported by {}", escape(program)) },
    ))
}

fn activation_ranges(files: &RunFiles) -> String {
    let mut out = ranges::training(&files.phases);
    if !out.is_empty() {
        out.push_str(
            "<p class=\"note\">While an activation is a ReLU its interval is a target; once it is a polynomial, the interval \
             is where it is valid.</p>",
        );
    }
    match &files.artifact {
        Some(artifact) => {
            out.push_str(&ranges::exported(artifact));
            out.push_str(
                "<p class=\"note\">Folding moves factors out of the activations, so the exported graph counts in other units \
                 than training. With an interval per channel, the bar shows their hull.</p>",
            );
        }
        None => {
            out.push_str(&missing("No model has been exported: `hetrain export` writes `model.hemodel`."))
        }
    }
    out
}

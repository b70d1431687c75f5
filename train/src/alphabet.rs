//! Text and numbers: what a language model reads and writes.

use std::path::Path;

use anyhow::{Context as _, bail};
use hetrain_datasets::{DatasetConfig, Splits, Vocabulary, load, load_in};
use hetrain_export::Artifact;

/// What the channels and classes of a language model stand for, its letters or tokens of several.
pub struct Alphabet {
    vocabulary: Vocabulary,
    /// Positions the model reads at once.
    length: usize,
    /// What stands before a shorter text, its end last.
    lead: Vec<u16>,
}

impl Alphabet {
    /// That of a language model.
    ///
    /// # Errors
    /// A model that reads something else, or whose tokens contradict each other.
    pub fn of(artifact: &Artifact) -> anyhow::Result<Self> {
        Self::find(artifact)?.with_context(|| {
            format!(
                "the model of run `{}` takes images {:?}, not text\n  help: name a language model, such as one trained with `model: {{ name: gpt }}`",
                artifact.provenance.run,
                artifact.graph.input_shape(),
            )
        })
    }

    /// That of a model, if it reads text.
    ///
    /// # Errors
    /// Tokens that contradict each other.
    pub fn find(artifact: &Artifact) -> anyhow::Result<Option<Self>> {
        let provenance = &artifact.provenance;
        let vocabulary = Vocabulary::from_parts(&provenance.classes, &provenance.merges)
            .with_context(|| format!("the model of run `{}`", provenance.run))?;
        let shape = artifact.graph.input_shape();
        let Some(vocabulary) = vocabulary else { return Ok(None) };
        let lead = provenance.lead.clone();
        if let Some(unknown) = lead.iter().find(|token| usize::from(**token) >= vocabulary.len()) {
            bail!(
                "the model of run `{}` begins with token {unknown}, and has {}\n  help: take its file from where it was exported",
                provenance.run,
                vocabulary.len()
            );
        }
        match *shape {
            [channels, length, 1] if channels == vocabulary.len() => {
                Ok(Some(Self { vocabulary, length, lead }))
            }
            _ if vocabulary.is_of_characters() => Ok(None),
            _ => bail!(
                "the model of run `{}` takes inputs {shape:?}, which do not fit its {} tokens\n  help: take its file from where it was exported",
                provenance.run,
                vocabulary.len()
            ),
        }
    }

    /// Positions the model reads at once.
    pub fn length(&self) -> usize {
        self.length
    }

    /// What its numbers stand for.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// What its numbers stand for, in a word.
    pub fn unit(&self) -> &'static str {
        if self.vocabulary.is_of_characters() { "letter" } else { "token" }
    }

    /// The numbers of `text`.
    ///
    /// # Errors
    /// An empty text, a letter the model has never seen and has no stand-in for.
    pub fn tokens(&self, text: &str) -> anyhow::Result<Vec<u16>> {
        if text.is_empty() {
            bail!("the text is empty\n  help: give at least one letter for the model to go on from");
        }
        Ok(self.vocabulary.encode(text)?)
    }

    /// What stands at the positions of the window that ends `text`. Before a shorter one stands the end of a training text, or
    /// [`Vocabulary::blank`] in models without one.
    pub fn window(&self, text: &[u16]) -> Vec<u16> {
        let missing = self.length.saturating_sub(text.len());
        let lead = self.lead.iter().skip(self.lead.len().saturating_sub(missing)).copied();
        let blanks = missing.saturating_sub(self.lead.len());
        let seen = text.iter().skip(text.len().saturating_sub(self.length)).copied();
        std::iter::repeat_n(self.vocabulary.blank(), blanks).chain(lead).chain(seen).collect()
    }

    /// The input for the window that ends `text`: for each letter or token a channel, 1 where it stands.
    pub fn input(&self, text: &[u16]) -> Vec<f64> {
        let mut input = vec![0.0; self.vocabulary.len() * self.length];
        for (position, token) in self.window(text).into_iter().enumerate() {
            if let Some(value) = input.get_mut(usize::from(token) * self.length + position) {
                *value = 1.0;
            }
        }
        input
    }
}

/// A data set as a model reads it: a text in the model's vocabulary and windows, which need not be learned from it again; the images it was
/// trained on in the size and the colours it takes.
///
/// # Errors
/// Data errors; tokens of the model that contradict each other.
pub fn data_for(
    artifact: &Artifact,
    source: &DatasetConfig,
    data_dir: Option<&Path>,
    seed: u64,
) -> anyhow::Result<Splits> {
    match Alphabet::find(artifact)? {
        Some(own) if source.is_text() => {
            let source = DatasetConfig { length: Some(own.length), ..source.clone() };
            Ok(load_in(&own.vocabulary, &source, data_dir, seed)?)
        }
        _ => {
            let mut source = source.clone();
            let own = source.name == artifact.provenance.data && !source.is_text();
            let natural = source.form().map(|(shape, _)| shape);
            if let [channels, height, width] = *artifact.graph.input_shape()
                && own
                && (source.size, source.channels) == (None, None)
                && natural != Some([channels, height, width])
            {
                (source.size, source.channels) = (Some([height, width]), Some(channels));
            }
            Ok(load(&source, data_dir, seed)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use hetrain_export::{GraphBuilder, Provenance};

    use super::*;

    fn artifact(classes: &[&str], merges: &[[u16; 2]], shape: [usize; 3]) -> Artifact {
        let mut graph = GraphBuilder::default();
        graph.input("text", &shape).unwrap();
        let classes = classes.iter().map(|c| (*c).to_owned()).collect();
        let provenance = Provenance { classes, merges: merges.to_vec(), ..Provenance::default() };
        Artifact { graph: graph.finish().unwrap(), provenance }
    }

    #[test]
    fn images_come_as_the_model_takes_them_if_it_was_trained_on_them() {
        let mut model = artifact(&[], &[], [3, 16, 16]);
        let shape =
            |model: &Artifact| data_for(model, &DatasetConfig::named("digits"), None, 0).unwrap().test.shape;
        assert_eq!(shape(&model), [1, 8, 8], "of other data it is an error elsewhere");
        model.provenance.data = "digits".into();
        assert_eq!(shape(&model), [3, 16, 16]);
    }

    #[test]
    fn a_text_ends_where_the_window_does() {
        let alphabet = Alphabet::of(&artifact(&["\\n", "a", "b"], &[], [3, 3, 1])).unwrap();
        let input = |text: &str| alphabet.input(&alphabet.tokens(text).unwrap());
        assert_eq!(input("ab"), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(input("bbbaba"), input("aba"));
        assert!(alphabet.tokens("ac").unwrap_err().to_string().contains("'c' at position 1"));
        assert!(alphabet.tokens("").is_err());
        let mut led = artifact(&["\\n", "a", "b"], &[], [3, 4, 1]);
        led.provenance.lead = vec![2, 1];
        let window = |led: &Artifact, text: &[u16]| Alphabet::of(led).map(|a| a.window(text));
        assert_eq!(window(&led, &[0]).unwrap(), [0, 2, 1, 0]);
        assert_eq!(window(&led, &[0, 0, 0]).unwrap(), [1, 0, 0, 0]);
        led.provenance.lead.push(3);
        assert!(window(&led, &[0]).unwrap_err().to_string().contains("begins with token 3"));
        let open = Alphabet::of(&artifact(&["a", "\\u{fffd}"], &[], [2, 2, 1])).unwrap();
        assert_eq!(open.input(&open.tokens("az").unwrap()), [1.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn a_model_whose_tokens_contradict_it_is_refused() {
        let of =
            |classes: &[&str], merges: &[[u16; 2]], shape| Alphabet::of(&artifact(classes, merges, shape));
        let refused = |error: Option<anyhow::Error>| format!("{:#}", error.unwrap());
        assert!(refused(of(&["cat", "dog"], &[], [2, 4, 1]).err()).contains("not text"));
        assert!(refused(of(&["a", "b"], &[[9, 999]], [2, 4, 1]).err()).contains("merge 0 of 9 and 999"));
        let names = Vocabulary::from_parts(&[], &[[97, 98]]);
        assert!(names.unwrap_err().to_string().contains("token 0 as its merges make it"));
    }
}

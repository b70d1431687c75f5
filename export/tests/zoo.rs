//! The shipped models load: what is refused in files of strangers must not be in ours.

use hetrain_export::Artifact;

#[test]
fn every_shipped_model_loads() {
    let zoo = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/zoo");
    let files = std::fs::read_dir(zoo).unwrap().map(|entry| entry.unwrap().path());
    let models: Vec<_> = files.filter(|f| f.extension().is_some_and(|e| e == "hemodel")).collect();
    assert!(!models.is_empty(), "no model in {zoo}");
    for model in models {
        Artifact::read(&model).unwrap();
    }
}

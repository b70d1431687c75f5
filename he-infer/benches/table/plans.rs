//! Where bootstraps go, priced: the planner's choice beside refreshing when a ciphertext is empty.

use std::{path::Path, sync::Arc, time::Instant};

use he_infer::plan::{Bootstrapping, Packing, PlanOptions, estimate, plan};
use he_infer::run::calibrate;
use hetrain_export::Artifact;

/// Every network in `configs/zoo`.
///
/// # Panics
/// If a plan is slower than the naive one.
pub fn plans() {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/zoo");
    let mut models: Vec<_> = std::fs::read_dir(zoo).unwrap().map(|e| e.unwrap().path()).collect();
    models.retain(|p| p.extension().is_some_and(|e| e == "hemodel"));
    models.sort();
    let costs = calibrate("this machine", &[14, 15, 16]).unwrap();
    println!(
        "| network | images | planned, s | bootstraps | when empty, s | bootstraps | ratio | planning, s |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for path in models {
        let artifact = Artifact::read(&path).unwrap();
        let graph = Arc::new(artifact.graph);
        for images in [1, 4] {
            let [ours, naive] = [Bootstrapping::Auto, Bootstrapping::WhenEmpty].map(|bootstrapping| {
                let clock = Instant::now();
                let options = PlanOptions {
                    packing: Packing::Image,
                    images,
                    precision_bits: 12,
                    bootstrapping,
                    embedded: false,
                };
                let program = plan(Arc::clone(&graph), options).unwrap();
                let planning = clock.elapsed().as_secs_f64();
                let e = estimate(&program, &costs).unwrap();
                (e.seconds, e.bootstraps, planning)
            });
            let name = path.file_stem().unwrap().to_string_lossy();
            println!(
                "| {name} | {images} | {:.2} | {} | {:.2} | {} | {:.2} | {:.1} |",
                ours.0,
                ours.1,
                naive.0,
                naive.1,
                naive.0 / ours.0,
                ours.2
            );
            assert!(ours.0 <= naive.0 * (1.0 + 1e-9), "{name}: the plan is slower than the naive one");
        }
    }
}

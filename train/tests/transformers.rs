//! Every replacement of softmax, layer norm and GELU up the whole ladder: Burn, folded graph, packed program in clear slots, and
//! ciphertexts with 128 bits of security, each with the one before.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

use std::sync::Arc;
use std::time::Instant;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use he_infer::HeError;
use he_infer::ckks::{Ciphertext, Context};
use he_infer::plan::{Bootstrapping, Packing, PlanOptions, PlannedNode, Program, Step, estimate, plan};
use he_infer::run::{Client, NoObserver, Observer, Prepared, Server, calibrate, execute};
use he_infer::slots::{CkksSlots, ClearSlots};
use hetrain_export::{Graph, RangeStats, fold, interp};
use hetrain_layers::{
    ActivationKind, AttentionKind, BlockKind, HeModel, ModelConfig, ModelName, NormKind, Size,
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

/// Letters and positions of the small networks.
const SMALL: [usize; 2] = [5, 4];

/// Texts, one letter hot at every position.
fn texts([letters, length]: [usize; 2], count: usize, seed: usize) -> Vec<f32> {
    let letter = |text: usize, position: usize| (text * 7 + position * position + seed * 3) % letters;
    let of = |text| (0..letters * length).map(move |e| (text, e / length, e % length));
    (0..count).flat_map(of).map(|(text, l, p)| f32::from(u8::from(letter(text, p) == l))).collect()
}

fn batch(config: &ModelConfig, values: Vec<f32>, device: &Device) -> Tensor<4> {
    let [letters, length, _] = config.input;
    let count = values.len() / (letters * length);
    Tensor::from_data(TensorData::new(values, [count, letters, length, 1]), device)
}

fn sizes(config: &ModelConfig) -> [usize; 2] {
    [config.input[0], config.input[1]]
}

/// Intervals for what was seen, if anything was.
fn set_ranges(model: &HeModel) {
    for (i, stats) in model.take_ranges().iter().enumerate() {
        if let Some(interval) = model.interval_for(i, stats, 1.5) {
            model.set_range(i, interval);
        }
    }
    model.collect_ranges(false);
}

/// Attention that prefers some offsets and some queries.
#[derive(Default)]
struct Prefer(String);

impl ModuleMapper for Prefer {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.0 = name.into();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !matches!(self.0.as_str(), "offsets" | "queries") {
            return param;
        }
        param.map(|t| {
            let values =
                (0..t.shape().num_elements()).map(|i| 0.8 * (i as f32 * 1.7).sin()).collect::<Vec<_>>();
            Tensor::from_data(TensorData::new(values, t.shape()), &t.device()).require_grad()
        })
    }
}

/// A small polynomial language model whose statistics and intervals fit its values.
fn settled(config: &ModelConfig) -> HeModel {
    let device = Device::flex().autodiff();
    let model = config.init(&device, 5).unwrap().map(&mut Prefer::default());
    for step in 0..60 {
        let blend = (step as f32 - 20.0) / 20.0;
        (0..model.operators()).for_each(|i| model.set_blend(i, blend));
        model.collect_ranges(step >= 15);
        model.forward(batch(config, texts(sizes(config), 16, step), &device));
        set_ranges(&model);
    }
    let model = model.valid();
    for _ in 0..8 {
        model.collect_ranges(true);
        model.forward(batch(config, texts(sizes(config), 35, 0), &Device::flex()));
        set_ranges(&model);
    }
    model
}

fn largest(a: &[f64], b: &[f64]) -> f64 {
    assert!(a.len() == b.len() && a.iter().chain(b).all(|v| v.is_finite()), "{a:?} and {b:?}");
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Logits by every rung for one text; the client encrypts the text.
fn climb(config: &ModelConfig, what: &str) {
    let _ = climb_with(config, what, false);
}

/// The same; `embedded`: the client encrypts the embeddings of its letters. The program, and the seconds every node took.
fn climb_with(config: &ModelConfig, what: &str, embedded: bool) -> (Arc<Program>, Vec<f64>) {
    let model = settled(config);
    let [letters, length] = sizes(config);
    let mut graph = fold(&model.lower(&vec![0.0; letters], &vec![1.0; letters]).unwrap()).unwrap();
    let all = texts(sizes(config), 35, 0);
    let samples: Vec<Vec<f64>> =
        all.chunks(letters * length).map(|t| t.iter().map(|&v| f64::from(v)).collect()).collect();
    let ranges = {
        let interpreter = interp::Interpreter::new(&graph).unwrap();
        interp::measure(&interpreter, samples.iter().map(Vec::as_slice), "texts").unwrap()
    };
    graph.set_ranges(ranges);
    let text = samples[3].clone();
    let only = text.iter().map(|v| *v as f32).collect();
    let burn = model.forward(batch(config, only, &Device::flex())).logits;
    let burn: Vec<f32> = burn.into_data().try_to_vec().unwrap();
    let burn: Vec<f64> = burn[burn.len() - config.classes..].iter().map(|v| f64::from(*v)).collect();
    let folded = interp::evaluate(&graph, &text).unwrap().pop().unwrap();
    let size = folded.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    assert!(largest(&burn, &folded) < 1e-4 * size.max(1.0), "{what}: Burn {burn:?}, graph {folded:?}");
    let graph: Arc<Graph> = Arc::new(graph);
    let options = PlanOptions {
        packing: Packing::Image,
        images: 1,
        precision_bits: 8,
        bootstrapping: Bootstrapping::Auto,
        embedded,
    };
    let program = Arc::new(plan(graph, options).unwrap_or_else(|e| panic!("{what}: {e}")));
    let packed = in_clear(&program, &text);
    assert!(largest(&packed, &folded) < 1e-9 * size.max(1.0), "{what}: graph {folded:?}, packed {packed:?}");
    // The first run takes its memory from the system, which may take a second a gigabyte; it does not count where times are compared.
    let (encrypted, seconds) = on_ciphertexts(&program, &text, config.size().width > 100);
    let last = program.nodes.last().unwrap();
    let (error, bits) = (largest(&encrypted, &packed), last.bits_of(largest(&encrypted, &packed)));
    eprintln!(
        "{what}: error {error:.1e}, {bits:.1} bits, predicted {:.1}, {} bootstraps",
        last.bits,
        program.bootstraps()
    );
    assert!(bits > 6.0 && bits > last.bits - 2.0, "{what}: {bits:.1} bits, predicted {:.1}", last.bits);
    (program, seconds)
}

fn in_clear(program: &Program, text: &[f64]) -> Vec<f64> {
    let slots = ClearSlots::of(program);
    let prepared = Prepared::new(&slots, program).unwrap();
    let (level, scale) = program.input_level_scale();
    let input = program.pack(&[text.to_vec()]).unwrap();
    let input = input.into_iter().map(|v| slots.fresh(v, level, scale)).collect();
    let result = execute(&slots, program, &prepared, input, &mut NoObserver).unwrap();
    let result: Vec<Vec<f64>> = result.into_iter().map(|v| v.slots).collect();
    program.unpack(program.nodes.len() - 1, &result, 1).remove(0)
}

/// Takes the time of every node.
struct Clock {
    last: Instant,
    seconds: Vec<f64>,
}

impl Observer<CkksSlots<'_>> for Clock {
    fn node(&mut self, _: usize, _: &PlannedNode, _: &[Ciphertext]) -> Result<(), HeError> {
        self.seconds.push(self.last.elapsed().as_secs_f64());
        self.last = Instant::now();
        Ok(())
    }
}

/// Logits, and the seconds every node took.
fn on_ciphertexts(program: &Arc<Program>, text: &[f64], warm: bool) -> (Vec<f64>, Vec<f64>) {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let before = gigabytes("VmRSS");
    let context = Arc::new(Context::new(&program.chain.params).unwrap());
    let client = Client::generate(Arc::clone(program), Arc::clone(&context), &mut rng);
    let keys = client.evaluation_keys(&mut rng).unwrap();
    let server = Server::new(Arc::clone(program), &context, &keys).unwrap();
    let input = client.encrypt(&[text.to_vec()], &mut rng).unwrap();
    let input: Vec<Ciphertext> = input.iter().map(|c| context.expand_ciphertext(c).unwrap()).collect();
    if warm {
        drop(server.infer(input.clone()).unwrap());
    }
    let mut clock = Clock { last: Instant::now(), seconds: Vec::new() };
    let result = server.infer_observed(input, &mut clock).unwrap();
    if warm {
        eprintln!("{:.2} GB for keys, weights and two runs", gigabytes("VmHWM") - before);
    }
    (client.decrypt(&result, 1).unwrap().remove(0), clock.seconds)
}

fn small() -> ModelConfig {
    let size = Some(Size { width: 8, heads: 2, blocks: 1, ..ModelName::Gpt.size() });
    let [letters, length] = SMALL;
    ModelConfig { size, ..ModelConfig::new(ModelName::Gpt, [letters, length, 1], letters) }
}

#[test]
fn every_replacement_of_softmax() {
    for attention in AttentionKind::ALL {
        climb(&ModelConfig { attention, ..small() }, attention.as_str());
    }
}

#[test]
fn every_replacement_of_layer_norm() {
    for norm in NormKind::ALL {
        climb(&ModelConfig { norm, ..small() }, norm.as_str());
    }
}

#[test]
fn polynomials_of_higher_degree_in_place_of_gelu() {
    for activation in [ActivationKind::Poly6, ActivationKind::Poly14, ActivationKind::Poly30] {
        climb(&ModelConfig { activation, ..small() }, activation.as_str());
    }
}

#[test]
fn blocks_of_every_kind() {
    for block in [BlockKind::Parallel, BlockKind::Gated] {
        let size = Some(Size { block, ..small().size() });
        climb(&ModelConfig { size, ..small() }, block.as_str());
    }
    climb(&ModelConfig { name: ModelName::Bert, ..small() }, "bert");
}

#[test]
fn clients_that_embed_their_text() {
    let _ = climb_with(&small(), "embedded", true);
    let size = Some(Size { blocks: 2, ..small().size() });
    let _ = climb_with(&ModelConfig { size, ..small() }, "embedded, two blocks", true);
}

/// A norm and the attention behind it are deeper than what lies between two bootstraps: more of them go inside.
#[test]
fn blocks_too_deep_for_one_bootstrap() {
    let size = Some(Size { width: 8, heads: 2, blocks: 2, ..ModelName::Gpt.size() });
    climb(&ModelConfig { norm: NormKind::Rms, size, ..small() }, "two blocks with rms");
}

/// Weights without values cost what weights with values cost.
#[test]
fn sketches_are_planned_as_the_networks_themselves() {
    let wide = Size { width: 48, heads: 3, hidden: Some(80), block: BlockKind::Gated, ..small().size() };
    let text = ModelConfig { size: Some(wide), ..small() };
    for config in [text, ModelConfig::new(ModelName::Resnet20, [3, 32, 32], 10)] {
        let planned = |model: HeModel| {
            (0..model.operators()).for_each(|i| model.set_blend(i, 1.0));
            let channels = config.input[0];
            let lowered = model.lower(&vec![0.0; channels], &vec![1.0; channels]).unwrap();
            let mut graph = fold(&lowered).unwrap();
            let range = RangeStats { min: -4.0, max: 4.0, std: 1.0, ..RangeStats::empty("assumed") };
            graph.set_ranges(vec![range; graph.nodes().len()]);
            let options = PlanOptions {
                packing: Packing::Image,
                images: 1,
                precision_bits: 0,
                bootstrapping: Bootstrapping::WhenEmpty,
                embedded: false,
            };
            plan(Arc::new(graph), options).unwrap()
        };
        let sketch = planned(config.sketch(&Device::flex()).unwrap());
        let network = planned(config.init(&Device::flex(), 1).unwrap());
        assert_eq!(sketch.rotations, network.rotations, "{}", config.name);
        for (a, b) in sketch.nodes.iter().zip(&network.nodes) {
            let what = |n: &PlannedNode| match &*n.step {
                Step::Linear(map) => (n.level_in, map.products(), map.folds.len()),
                _ => (n.level_in, 0, 0),
            };
            assert_eq!((&a.name, what(a)), (&b.name, what(b)));
        }
        let slots = ClearSlots::of(&sketch);
        assert!(matches!(Prepared::new(&slots, &sketch), Err(HeError::Sketched { .. })));
    }
}

/// What `estimate --config bert_base` promises, held against a block of a quarter of the width: 192 features, three heads of 64, 128
/// tokens, embedded by the client. Alone on a machine, `--test-threads 1`.
#[test]
#[ignore = "a minute and 10 GB"]
fn a_quarter_of_a_block_of_bert_base() {
    let size = Size { width: 192, heads: 3, blocks: 1, hidden: Some(768), ..ModelName::Bert.size() };
    let config = ModelConfig { size: Some(size), ..ModelConfig::new(ModelName::Bert, [30, 128, 1], 2) };
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let (program, seconds) = one.install(|| climb_with(&config, "a quarter of a block of bert_base", true));
    let costs = calibrate("this machine", &[program.chain.params.literal().log_n]).unwrap();
    let price = estimate(&program, &costs).unwrap();
    for (node, seconds) in price.nodes.iter().zip(&seconds).filter(|(_, s)| **s > 0.05) {
        eprintln!("{:<40} {seconds:7.2} s, {:7.2} s estimated", node.name, node.seconds);
    }
    let whole: f64 = seconds.iter().sum();
    eprintln!("{whole:.1} s, {:.1} s estimated", price.seconds);
    eprintln!("{:.2} GB estimated, of a process that holds nothing before", price.peak_bytes as f64 / 1e9);
}

/// Gigabytes by the system's count: `VmRSS`, what the process holds, or `VmHWM`, the most it held.
fn gigabytes(which: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(which)?.strip_prefix(':'));
    line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok()).map_or(f64::NAN, |kb| kb * 1024e-9)
}

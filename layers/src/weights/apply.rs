//! Reads and replaces tensors of a module by path.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};

use crate::LayerError;
use crate::lower::to_host;

/// A tensor on the host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f32>,
}

/// Where a traversal is; the name of the enum's variant and of the model's own field say nothing to a reader.
#[derive(Default)]
struct Path(Vec<(String, bool)>);

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        let hidden = container.starts_with("Enum:") || container == "Struct:HeModel";
        self.0.push((name.to_string(), !hidden));
    }

    fn exit(&mut self) {
        self.0.pop();
    }

    fn name(&self) -> String {
        let shown: Vec<&str> = self.0.iter().filter(|(_, shown)| *shown).map(|(n, _)| n.as_str()).collect();
        shown.join(".")
    }
}

struct Collector {
    path: Path,
    found: Result<BTreeMap<String, Array>, LayerError>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Ok(found) = &mut self.found else { return };
        let name = self.path.name();
        let tensor = param.val();
        let shape = tensor.dims().to_vec();
        match to_host(&name, tensor) {
            Ok(data) => {
                found.insert(name, Array { shape, data });
            }
            Err(e) => self.found = Err(e),
        }
    }
}

/// All tensors of a module: parameters and running statistics, the latter as of their last synchronisation.
pub(crate) fn collect(module: &impl Module) -> Result<BTreeMap<String, Array>, LayerError> {
    let mut collector = Collector { path: Path::default(), found: Ok(BTreeMap::new()) };
    module.visit(&mut collector);
    collector.found
}

struct Replacer {
    path: Path,
    table: BTreeMap<String, Array>,
}

impl ModuleMapper for Replacer {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(array) = self.table.remove(&self.path.name()) else { return param };
        // `Param::map` keeps the id and whether the parameter is trained.
        param.map(|old| {
            let new = Tensor::from_data(TensorData::new(array.data, array.shape), &old.device());
            new.set_require_grad(old.is_require_grad())
        })
    }
}

/// Put the tensors of `table` in place of those of the same path; shapes must be the same.
pub(crate) fn replace<M: Module>(module: M, table: BTreeMap<String, Array>) -> M {
    module.map(&mut Replacer { path: Path::default(), table })
}

/// Number of values in running statistics.
pub(crate) fn running_statistics(module: &impl Module) -> usize {
    struct Count(Path, usize);
    impl ModuleVisitor for Count {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.0.name().contains(".running_") {
                self.1 += param.lazy_shape().num_elements();
            }
        }
    }
    let mut count = Count(Path::default(), 0);
    module.visit(&mut count);
    count.1
}

/// Whether the module's tensors are on a training device.
pub(crate) fn is_training(module: &impl Module) -> bool {
    struct Any(bool);
    impl ModuleVisitor for Any {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= param.is_autodiff();
        }
    }
    let mut any = Any(false);
    module.visit(&mut any);
    any.0
}

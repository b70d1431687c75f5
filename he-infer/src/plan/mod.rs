//! From a folded graph to a [`Program`]: layouts, parameters, levels, scales, rotation keys, price.
//!
//! ```text
//! Graph ──levels──► depth ──params──► chain ──layout──► LinearMaps ──cost──► keys, Estimate
//! ```
//! A depth that no ring holds is cut by bootstraps ([`Refreshing`]), placed where they and the layers between them cost least.
//! Nothing here touches a ciphertext.

mod build;
mod deviation;
mod errors;
mod estimate;
mod facts;
mod layout;
mod levels;
mod linear;
mod noise;
mod params;
mod prices;
mod program;
mod refresh;
mod scales;
mod shared;
mod sine;
mod split;
mod steps;
mod tokens;
mod weights;

pub use crate::slots::{CostTable, UnitCosts};
pub use build::{Bootstrapping, PlanOptions, parameters, plan};
pub use estimate::{Estimate, NodeEstimate, estimate};
pub use layout::{Grid, Layout};
pub use linear::{Giant, LinearMap, Term};
pub use params::Chain;
pub use program::{Keep, Packing, PlannedNode, Program, Step};
pub use refresh::Refreshing;
pub use shared::Shared;
pub use tokens::Tokens;

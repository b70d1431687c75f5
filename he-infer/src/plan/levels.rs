//! A level for each node: as low as its readers allow, since limbs are what everything costs.

use hetrain_export::Graph;

use crate::HeError;

/// Levels of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Levels {
    /// Level its operands are dropped to.
    pub(crate) operands: usize,
    /// Level of its result.
    pub(crate) result: usize,
}

/// Levels of every node, the output at level 0.
pub(crate) fn assign(graph: &Graph) -> Result<Vec<Levels>, HeError> {
    let mut levels = vec![Levels { operands: 0, result: 0 }; graph.nodes().len()];
    for (id, node) in graph.iter().collect::<Vec<_>>().into_iter().rev() {
        let depth = node
            .op
            .depth()
            .ok_or_else(|| HeError::Unfriendly { node: node.name.clone(), op: node.op.name() })?;
        let Some(result) = levels.get(id.0).map(|l| l.result) else { continue };
        let operands = result + depth;
        if let Some(l) = levels.get_mut(id.0) {
            l.operands = operands;
        }
        for input in &node.inputs {
            if let Some(l) = levels.get_mut(input.0) {
                l.result = l.result.max(operands);
            }
        }
    }
    Ok(levels)
}

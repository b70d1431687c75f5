//! A level for each node: as low as its readers allow, since limbs are what everything costs.

use hetrain_export::Graph;

use crate::HeError;

/// Levels of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Levels {
    /// Level its operands are dropped to.
    pub(crate) operands: usize,
    /// Level of its result.
    pub(crate) result: usize,
    /// Whether the result is bootstrapped before it is read.
    pub(crate) refreshed: bool,
}

/// Levels of every node, the output at level 0 and nothing refreshed.
pub(crate) fn assign(graph: &Graph) -> Result<Vec<Levels>, HeError> {
    let mut levels = vec![Levels::default(); graph.nodes().len()];
    walk(graph, &mut levels, 0..graph.nodes().len(), None)?;
    Ok(levels)
}

/// Levels of the nodes `range`, whose last one's result must be set: backwards, from what readers need. Nodes that are marked
/// as refreshed need `bootstrap` levels whatever their readers need.
pub(crate) fn walk(
    graph: &Graph,
    levels: &mut [Levels],
    range: std::ops::Range<usize>,
    bootstrap: Option<usize>,
) -> Result<(), HeError> {
    for id in range.rev() {
        let Some(node) = graph.nodes().get(id) else { continue };
        let depth = node
            .op
            .depth()
            .ok_or_else(|| HeError::Unfriendly { node: node.name.clone(), op: node.op.name() })?;
        let Some(own) = levels.get_mut(id) else { continue };
        if let (true, Some(level)) = (own.refreshed, bootstrap) {
            own.result = level;
        }
        own.operands = own.result + depth;
        let operands = own.operands;
        for (index, input) in node.inputs.iter().enumerate() {
            if let Some(l) = levels.get_mut(input.0) {
                l.result = l.result.max(operands + node.op.ahead(index));
            }
        }
    }
    Ok(())
}

//! Which diagonals the matrices of the transform have, from the stages alone.

use std::collections::BTreeSet;

use super::dft::{Direction, Merged, merged};
use crate::ckks::Sparsity;

/// For the matrices of [`super::dft::matrices`], without computing them.
pub(super) fn sparsities(direction: Direction, groups: &[usize]) -> Vec<Sparsity> {
    let slots = 1usize << groups.iter().sum::<usize>();
    merged(direction, groups).iter().map(|m| sparsity(m, slots)).collect()
}

fn sparsity(merged: &Merged, slots: usize) -> Sparsity {
    let mut offsets = BTreeSet::from([0]);
    for s in &merged.stages {
        let h = 1usize << (s - 1);
        offsets = offsets.iter().flat_map(|o| [0, h, slots - h].map(|d| (o + d) % slots)).collect();
    }
    let stride = 1 << (merged.lowest - 1);
    let at: BTreeSet<usize> = offsets.iter().map(|o| (o + merged.offset) % slots / stride).collect();
    let present = (0..=at.last().copied().unwrap_or(0)).map(|i| at.contains(&i)).collect();
    // A stage repeats with twice its `h`, and the longest period of the merged stages is that of them all.
    Sparsity { stride, present, period: 1 << merged.stages.iter().max().copied().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::super::dft::matrices;
    use super::*;

    #[test]
    fn patterns_are_those_of_the_computed_matrices() {
        for direction in [Direction::SlotsToCoefficients, Direction::CoefficientsToSlots] {
            for groups in [vec![3, 3, 3], vec![4, 3, 2], vec![2, 2, 2, 3], vec![9]] {
                let made = matrices(direction, &groups, 1.0);
                let want: Vec<Sparsity> = made.iter().map(crate::ckks::Diagonals::sparsity).collect();
                assert_eq!(sparsities(direction, &groups), want, "{groups:?}");
            }
        }
    }
}

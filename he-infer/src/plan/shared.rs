//! Known numbers for many vectors, most of which are the same.

use std::collections::HashMap;

use rayon::prelude::*;

use super::linear::interleaved;

/// One thing for each of a node's vectors; equal ones are held once. Scores of attention have a vector for every offset between query
/// and key, and what is added to them is the same in all.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared<T> {
    distinct: Vec<T>,
    /// Which of them each vector has.
    of: Vec<usize>,
}

impl Shared<Vec<f64>> {
    /// Of these slots.
    pub(crate) fn new(all: Vec<Vec<f64>>) -> Self {
        let mut known: HashMap<Vec<u64>, usize> = HashMap::new();
        let mut distinct = Vec::new();
        let of = all.into_iter().map(|slots| {
            let bits = slots.iter().map(|v| v.to_bits()).collect();
            *known.entry(bits).or_insert_with(|| {
                distinct.push(slots);
                distinct.len() - 1
            })
        });
        let of = of.collect();
        Self { distinct, of }
    }

    /// Every slot as often as there are interleaved images.
    pub(crate) fn interleaved(&self, images: usize) -> Self {
        Self { distinct: interleaved(&self.distinct, images), of: self.of.clone() }
    }
}

impl<T> Shared<T> {
    /// For no vector.
    pub(crate) fn empty() -> Self {
        Self { distinct: Vec::new(), of: Vec::new() }
    }

    /// The same sharing of what `f` makes of each.
    ///
    /// # Errors
    /// Those of `f`.
    pub(crate) fn map<U: Send, E: Send>(
        &self,
        f: impl Fn(&T) -> Result<U, E> + Send + Sync,
    ) -> Result<Shared<U>, E>
    where
        T: Sync,
    {
        Ok(Shared {
            distinct: self.distinct.par_iter().map(f).collect::<Result<_, E>>()?,
            of: self.of.clone(),
        })
    }

    /// That of each vector.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        #[expect(clippy::indexing_slicing, reason = "numbered when they were made")]
        self.of.iter().map(|&i| &self.distinct[i])
    }

    /// That of vector `index`.
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.distinct.get(*self.of.get(index)?)
    }

    /// Number of different ones.
    pub(crate) fn distinct(&self) -> usize {
        self.distinct.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_vectors_are_held_once_and_found_in_their_order() {
        let all = vec![vec![1.0, 0.0], vec![1.0, -0.0], vec![1.0, 0.0]];
        let shared = Shared::new(all.clone());
        assert_eq!(shared.distinct(), 2, "a zero's sign counts");
        assert_eq!(shared.iter().cloned().collect::<Vec<_>>(), all);
        let sums = shared.map(|v| Ok::<_, ()>(v.iter().sum::<f64>())).unwrap();
        assert_eq!((sums.get(2), sums.get(3)), (Some(&1.0), None));
    }
}

//! Attention in the image layout: every position meets every other by the offset between them.
//!
//! A product `[c, L, k]·[c, k, L]` of queries and keys and the product `[c, L, L]·[c, L, k]` of its (processed) result with values
//! are computed together. Features lie slowest and positions fastest, in blocks of `P ≥ 2L` slots:
//!
//! ```text
//! slot(k, i, h, t) = P·((k·C + i)·H + h) + t          feature k, copy i of C, head h of H, position t
//! ```
//!
//! Query `t` lies in slot `t` of its block, key `t` in slots `t` and `t + L`, so that a rotation by `r` brings key `t + r mod L`
//! to query `t`; the product, summed over features by rotations that go once around the vector, is the score of `(t, t + r)`
//! in the place of every feature, which is where the values need it: no masks, no further levels. Copy `i` of the queries is
//! shifted by `i` and meets the keys `i` further on, so that one vector has the scores of `C` offsets; the sum over copies shifts
//! back. (Shifted keys and values would do as well, and cost two layers `C` times the products instead of one.)
//!
//! With a causal mask keys lie in slots `t + L` only, and offsets are `1..=L`: what is later than the query meets zeros.
//! Factors of weights, by query and key, are factors of the rotated values: those wait for the weights anyway, so nothing is a level deeper.
//!
//! The idea of rotating keys against queries is that of column packing (MOAI 2026); here it is for one sample.

use std::collections::BTreeMap;

use hetrain_export::{Graph, Node, Op, interp};

use super::layout::{Layout, NOWHERE};
use crate::HeError;

/// Sizes of one attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    length: usize,
    pitch: usize,
    /// Heads of a vector, and vectors that share all heads.
    heads: usize,
    groups: usize,
    /// Features of a head, up to a power of two.
    width: usize,
    copies: usize,
    causal: bool,
    distances: bool,
    images: usize,
    slots: usize,
}

impl Tokens {
    /// For `heads` heads of `width` features and `length` positions.
    fn new(
        [heads, length, width]: [usize; 3],
        causal: bool,
        slots: usize,
        node: &Node,
    ) -> Result<Self, HeError> {
        let (pitch, width) = ((2 * length).next_power_of_two(), width.next_power_of_two());
        let room = slots / (pitch * width);
        if room == 0 {
            return Err(HeError::Unfriendly {
                node: node.name.clone(),
                op: "attention over so many positions",
            });
        }
        let together = heads.next_power_of_two().min(room);
        // Copies of the queries are shifted against each other: as many as leave no offset over.
        let copies = (room / together).min(1 << length.trailing_zeros());
        let groups = heads.div_ceil(together);
        Ok(Self {
            length,
            pitch,
            heads: together,
            groups,
            width,
            copies,
            causal,
            distances: false,
            images: 1,
            slots,
        })
    }

    /// Offsets of the first copy, in positions.
    fn offsets(&self) -> impl Iterator<Item = usize> {
        (0..self.length).step_by(self.copies).map(|r| r + usize::from(self.causal))
    }

    /// Whether scores are sums of squared differences, and not of products.
    pub(crate) fn distances(&self) -> bool {
        self.distances
    }

    /// Vectors of queries.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// Rotations of the keys, one for each vector of scores (of a group).
    pub(crate) fn turns(&self) -> Vec<i32> {
        self.offsets().map(|r| (r * self.images) as i32).collect()
    }

    /// Rotations that add up features.
    pub(crate) fn feature_folds(&self) -> impl Iterator<Item = i32> {
        self.doubling(self.pitch * self.heads * self.copies, self.width)
    }

    /// Rotations that add up the copies.
    pub(crate) fn copy_folds(&self) -> impl Iterator<Item = i32> {
        self.doubling(self.pitch * self.heads + 1, self.copies)
    }

    fn doubling(&self, step: usize, count: usize) -> impl Iterator<Item = i32> {
        (0..count.trailing_zeros()).map(move |i| ((step * self.images) << i) as i32)
    }

    /// The same for interleaved images.
    #[must_use]
    pub(super) fn interleaved(self, images: usize) -> Self {
        Self { images: self.images * images, ..self }
    }

    /// Vector and slot of feature `k`, copy `i`, head `h`, position 0.
    fn block(&self, k: usize, i: usize, h: usize) -> usize {
        let slot = self.pitch * ((k * self.copies + i) * self.heads + h % self.heads);
        h / self.heads * self.slots + slot
    }

    fn period(&self) -> usize {
        self.pitch * self.heads * self.copies * self.width
    }

    fn query(&self, [h, t, k]: [usize; 3]) -> Vec<usize> {
        (0..self.copies).map(|i| self.block(k, i, h) + t + i).collect()
    }

    fn key(&self, [h, t, k]: [usize; 3]) -> Vec<usize> {
        let places = |i: usize| {
            let block = self.block(k, i, h);
            let first = (!self.causal).then_some(block + t);
            first.into_iter().chain([block + t + self.length])
        };
        (0..self.copies).flat_map(places).collect()
    }

    /// Layout of a tensor of which element `order[e]`, counted as `[heads, length, features]`, is element `e`.
    fn scattered(
        &self,
        place: impl Fn([usize; 3]) -> Vec<usize>,
        features: usize,
        order: &[usize],
    ) -> Layout {
        let at = |&e: &usize| place([e / (self.length * features), e / features % self.length, e % features]);
        let places: Vec<Vec<usize>> = order.iter().map(at).collect();
        Layout::scattered(&places, self.period(), self.groups, self.slots)
    }

    /// Layout of scores, `[heads, length, length]`; vectors of one group follow each other.
    fn scores(&self, heads: usize) -> Layout {
        let first = usize::from(self.causal);
        let vectors = self.length / self.copies;
        let place = |e: usize| {
            let (h, y, x) = (e / self.length / self.length, e / self.length % self.length, e % self.length);
            let r = (x + 2 * self.length - y - first) % self.length;
            let (vector, i) = (r / self.copies, r % self.copies);
            let slot = self.pitch * (i * self.heads + h % self.heads) + y + i;
            vec![(h / self.heads * vectors + vector) * self.slots + slot]
        };
        let places: Vec<Vec<usize>> = (0..heads * self.length * self.length).map(place).collect();
        Layout::scattered(&places, self.turn(), self.groups * vectors, self.slots)
    }

    /// Slots after which scores repeat.
    fn turn(&self) -> usize {
        self.pitch * self.heads * self.copies
    }

    /// What the rotated values of each vector are multiplied with, once: the factors `[heads, length, length]` of the scores.
    pub(super) fn factors(&self, values: &[f64]) -> Vec<Vec<f64>> {
        let heads = values.len() / (self.length * self.length).max(1);
        let mut packed = self.scores(heads).pack(&[values.to_vec()]);
        packed.iter_mut().for_each(|vector| vector.truncate(self.turn()));
        packed
    }

    /// Layout of one value for each query, `[heads, length, 1]`: what scores and results can be multiplied with.
    fn rows(&self, heads: usize) -> Layout {
        let place = |e: usize| {
            let (h, y) = (e / self.length, e % self.length);
            vec![h / self.heads * self.slots + self.pitch * (h % self.heads) + y]
        };
        let places: Vec<Vec<usize>> = (0..heads * self.length).map(place).collect();
        Layout::scattered(&places, self.pitch * self.heads, self.groups, self.slots)
    }
}

/// What attention asks of a graph's nodes.
#[derive(Default)]
pub(super) struct Demands {
    /// Layouts of results.
    pub(super) layouts: BTreeMap<usize, Layout>,
    /// Sizes, for both products.
    pub(super) tokens: BTreeMap<usize, Tokens>,
    /// The first products of their attentions.
    pub(super) scores: Vec<usize>,
    /// Layouts made before, by what they were made of: those of blocks that are alike are shared.
    made: BTreeMap<String, Layout>,
}

/// Slots that the largest block of a head's features takes: fewer hold no attention.
pub(super) fn least_slots(graph: &Graph) -> usize {
    let block = |node: &Node| match (&node.op, node.inputs.first().and_then(|i| graph.node(*i))) {
        (Op::MatMul { .. } | Op::Distance { .. }, Some(queries)) if scores_of(graph, node).is_none() => {
            let at = |i: usize| queries.shape.get(i).copied().unwrap_or(1);
            (2 * at(1)).next_power_of_two() * at(2).next_power_of_two()
        }
        _ => 1,
    };
    graph.nodes().iter().map(block).max().unwrap_or(1)
}

/// The layouts that products of matrices want.
pub(super) fn demands(graph: &Graph, slots: usize) -> Result<Demands, HeError> {
    let mut found = Demands::default();
    for (id, node) in graph.iter() {
        if matches!(node.op, Op::MatMul { .. })
            && let Some(first) = scores_of(graph, node)
        {
            found.attention(graph, slots, first, id.0)?;
        }
    }
    let lonely = graph.iter().find(|(id, n)| is_product(&n.op) && !found.tokens.contains_key(&id.0));
    match lonely {
        Some((_, node)) => {
            Err(refused(node, "a product of matrices outside attention (queries, keys, values)"))
        }
        None => Ok(found),
    }
}

fn is_product(op: &Op) -> bool {
    matches!(op, Op::MatMul { .. } | Op::Distance { .. })
}

fn refused(node: &Node, op: &'static str) -> HeError {
    HeError::Unfriendly { node: node.name.clone(), op }
}

/// The product whose elements the first operand of `node` is made of, one by one.
pub(super) fn scores_of(graph: &Graph, node: &Node) -> Option<usize> {
    let mut id = node.inputs.first()?.0;
    loop {
        let node = graph.nodes().get(id)?;
        match node.op {
            Op::MatMul { .. } | Op::Distance { .. } => return Some(id),
            Op::Square { .. }
            | Op::Quadratic { .. }
            | Op::Polynomial { .. }
            | Op::Bias { .. }
            | Op::Affine { .. }
            | Op::Causal
            | Op::Mul => id = node.inputs.first()?.0,
            _ => return None,
        }
    }
}

/// The product of whose rows `node` holds sums, or what was made of them one by one.
fn rows_of(graph: &Graph, node: &Node) -> Option<usize> {
    scores_of(graph, node).or_else(|| {
        let mut node = node;
        loop {
            node = graph.node(*node.inputs.first()?)?;
            match node.op {
                Op::RowSum { .. } => return scores_of(graph, node),
                Op::Bias { .. } | Op::Polynomial { .. } | Op::Mul | Op::Square { .. } => {}
                _ => return None,
            }
        }
    })
}

/// The linear layer whose elements `id` renames, shifts or squares, so that slots of no element stay zero, and the nodes between them,
/// `id` first.
fn producer(graph: &Graph, mut id: usize) -> Option<(usize, Vec<usize>)> {
    let mut between = Vec::new();
    loop {
        let node = graph.nodes().get(id)?;
        match node.op {
            Op::Bias { .. }
            | Op::Square { .. }
            | Op::Quadratic { .. }
            | Op::Reshape { .. }
            | Op::Flatten
            | Op::Transpose { .. } => {
                between.push(id);
                id = node.inputs.first()?.0;
            }
            Op::Causal | Op::Row { .. } => return None,
            _ => return node.op.is_linear().then_some((id, between)),
        }
    }
}

/// Which element of the layer each element of the first of the nodes `between` comes from.
fn order(graph: &Graph, layer: &Node, between: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..layer.shape.iter().product()).collect();
    let mut shape = &layer.shape;
    for node in between.iter().rev().filter_map(|id| graph.nodes().get(*id)) {
        if let Op::Transpose { axes } = node.op {
            let sources = interp::sources(shape, axes);
            order = sources.into_iter().filter_map(|s| order.get(s).copied()).collect();
        }
        shape = &node.shape;
    }
    order
}

impl Demands {
    fn attention(&mut self, graph: &Graph, slots: usize, first: usize, second: usize) -> Result<(), HeError> {
        let nodes = graph.nodes();
        let (Some(scores), Some(mixed)) = (nodes.get(first), nodes.get(second)) else { return Ok(()) };
        let (Op::MatMul { causal, .. } | Op::Distance { causal }) = scores.op else { return Ok(()) };
        if matches!(scores.op, Op::MatMul { factors: Some(_), .. }) {
            return Err(refused(scores, "a product of queries and keys with factors"));
        }
        if matches!(mixed.op, Op::MatMul { causal: true, .. }) {
            return Err(refused(mixed, "a causal product of weights and values"));
        }
        let operand = |node: &Node, i: usize| node.inputs.get(i).map_or(0, |i| i.0);
        let shape = |id: usize| nodes.get(id).map(|n| n.shape.clone()).unwrap_or_default();
        let (&[heads, length, width], &[_, _, columns]) =
            (shape(operand(scores, 0)).as_slice(), scores.shape.as_slice())
        else {
            return Ok(());
        };
        let features = mixed.shape.get(2).copied().unwrap_or(0);
        if columns != length || features.next_power_of_two() != width.next_power_of_two() {
            return Err(refused(mixed, "attention whose queries, keys and values differ in number or width"));
        }
        // What the mask leaves out is not multiplied, so it must be zero on the way to the second product too.
        let masked = self.is_masked(graph, second, first);
        if causal != masked {
            return Err(refused(mixed, "attention that is causal in one of its products only"));
        }
        let tokens = Tokens::new([heads, length, width], causal, slots, scores)?;
        let tokens = Tokens { distances: matches!(scores.op, Op::Distance { .. }), ..tokens };
        // The first operand counts [head, position, feature]; keys count [head, feature, position].
        let plain = |features: usize| (0..heads * length * features).collect::<Vec<usize>>();
        let turned = |features: usize, e: usize| {
            let (h, k, t) = (e / (features * length), e / length % features, e % length);
            (h * length + t) * features + k
        };
        let keys = || plain(width).into_iter().map(|e| turned(width, e)).collect::<Vec<usize>>();
        let query = |e| tokens.query(e);
        let key = |e| tokens.key(e);
        let what = format!("{tokens:?}, {heads} heads");
        let (queries, columns, values) = (operand(scores, 0), operand(scores, 1), operand(mixed, 1));
        self.want(graph, queries, &what, "queries", || tokens.scattered(query, width, &plain(width)))?;
        self.want(graph, columns, &what, "keys", || tokens.scattered(key, width, &keys()))?;
        self.want(graph, values, &what, "values", || tokens.scattered(key, features, &plain(features)))?;
        let layout = self.made(format!("scores, {what}"), || tokens.scores(heads));
        self.layouts.insert(first, layout);
        let result = |[h, t, k]: [usize; 3]| vec![tokens.block(k, 0, h) + t];
        let mixed = || tokens.scattered(result, features, &plain(features));
        let layout = self.made(format!("mixed, {features} features, {what}"), mixed);
        self.layouts.insert(second, layout);
        for (id, node) in graph.iter() {
            if matches!(node.op, Op::RowSum { .. }) && rows_of(graph, node) == Some(first) {
                let layout = self.made(format!("rows, {what}"), || tokens.rows(heads));
                self.put(node, id.0, layout)?;
            }
        }
        self.tokens.insert(first, tokens);
        self.tokens.insert(second, tokens);
        self.scores.push(first);
        Ok(())
    }

    fn is_masked(&self, graph: &Graph, second: usize, first: usize) -> bool {
        let mut id = second;
        while let Some(input) = graph.nodes().get(id).and_then(|n| n.inputs.first()) {
            id = input.0;
            if id == first {
                break;
            }
            if graph.nodes().get(id).is_some_and(|n| n.op == Op::Causal) {
                return true;
            }
        }
        false
    }

    /// Let operand `id` have a layout: that of the layer it comes from, in that layer's order.
    fn want(
        &mut self,
        graph: &Graph,
        id: usize,
        what: &str,
        role: &str,
        layout: impl FnOnce() -> Layout,
    ) -> Result<(), HeError> {
        let Some(node) = graph.nodes().get(id) else { return Ok(()) };
        let (layer, between) = producer(graph, id)
            .ok_or_else(|| refused(node, "attention that does not read its operands from linear layers"))?;
        let Some(source) = graph.nodes().get(layer) else { return Ok(()) };
        let moves = between.iter().filter_map(|id| graph.nodes().get(*id)).map(|n| match &n.op {
            Op::Transpose { axes } => format!("{axes:?}"),
            _ => format!("{:?}", n.shape),
        });
        let moves: Vec<String> = moves.collect();
        let name = format!("{role} of {what} from {:?} by {moves:?}", source.shape);
        let ordered = || {
            let order = order(graph, source, &between);
            let mut inverse = vec![NOWHERE; order.len()];
            for (e, &source) in order.iter().enumerate() {
                if let Some(place) = inverse.get_mut(source) {
                    *place = e;
                }
            }
            layout().renamed(inverse.into_iter())
        };
        let layout = self.made(name, ordered);
        self.put(node, layer, layout)
    }

    /// The layout of this name, made once.
    fn made(&mut self, name: String, make: impl FnOnce() -> Layout) -> Layout {
        self.made.entry(name).or_insert_with(make).clone()
    }

    /// Let the result of `id` have a layout, once.
    fn put(&mut self, reader: &Node, id: usize, layout: Layout) -> Result<(), HeError> {
        match self.layouts.insert(id, layout.clone()) {
            Some(other) if other != layout => {
                Err(refused(reader, "attention that uses a tensor in two roles"))
            }
            _ => Ok(()),
        }
    }
}

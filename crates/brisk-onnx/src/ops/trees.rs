//! Ensembles of decision trees: all rows go down all trees together, a step at a time.

use std::collections::HashMap;

use brisk_graph::{DType, Tensor, Value};

use crate::call::Call;

/// How deep a tree may be.
const DEEPEST: usize = 1 << 10;
/// How many numbers a table of leaves may have.
const MOST: usize = 1 << 26;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Test {
    LessEqual,
    Less,
    GreaterEqual,
    Greater,
    Equal,
    NotEqual,
}

use Test::*;

pub const TESTS: [Test; 6] = [LessEqual, Less, GreaterEqual, Greater, Equal, NotEqual];

impl Test {
    fn of<'g>(self, x: Value<'g>, split: Value<'g>) -> Value<'g> {
        match self {
            LessEqual => x.less_equal(split),
            Less => x.less(split),
            GreaterEqual => split.less_equal(x),
            Greater => x.greater(split),
            Equal => x.equal(split),
            NotEqual => x.equal(split).equal(0.0),
        }
    }
}

/// A node: a test and where it leads to, or a leaf, which has no test.
#[derive(Clone, Copy)]
pub struct Node {
    pub test: Option<Test>,
    pub feature: usize,
    pub split: f64,
    /// Where it leads to if the test holds, and if not.
    pub next: [usize; 2],
    /// A missing number passes the test.
    pub missing: bool,
}

impl Node {
    pub fn leaf() -> Node {
        Node { test: None, feature: 0, split: 0.0, next: [0, 0], missing: false }
    }
}

/// How the leaves of all trees come together.
#[derive(Clone, Copy, PartialEq)]
pub enum Together {
    Sum,
    Average,
    Min,
    Max,
}

/// What a leaf says: `(node, target, weight)`.
pub type Vote = (usize, usize, f64);

pub struct Trees {
    pub nodes: Vec<Node>,
    pub roots: Vec<usize>,
    pub votes: Vec<Vote>,
    pub targets: usize,
}

impl Trees {
    /// The number of steps that lead to every leaf; refuses what leads nowhere, or in a circle.
    fn depth(&self, c: &Call<'_, '_>, features: usize) -> Result<usize, String> {
        const PER_STEP: usize = 256;
        let mut level: Vec<usize> = self.roots.clone();
        let mut seen = 0;
        for depth in 0..=DEEPEST {
            c.spend(level.len() / PER_STEP)?;
            seen += level.len();
            if seen > MOST {
                break;
            }
            let mut next: Vec<usize> = Vec::new();
            for &i in &level {
                let node = self.nodes.get(i).ok_or_else(|| format!("node {i} does not exist"))?;
                if node.test.is_some() {
                    if node.feature >= features {
                        return Err(format!("node {i} tests feature {} of {features}", node.feature));
                    }
                    next.extend(node.next);
                }
            }
            if next.is_empty() {
                return Ok(depth);
            }
            next.sort_unstable();
            next.dedup();
            level = next;
        }
        Err(format!("the trees are deeper than {DEEPEST}, or go round in a circle"))
    }

    /// What the ensemble says of rows `[n, features]`: `[n, targets]`.
    pub fn of<'g>(&self, c: &Call<'_, 'g>, x: Value<'g>, together: Together) -> Result<Value<'g>, String> {
        let [n, features] = x.shape()[..] else {
            return Err(format!("expected [n, features], found {}", x.shape()));
        };
        let depth = self.depth(c, features)?;
        let (trees, dtype) = (self.roots.len(), x.dtype());
        if trees == 0 || n.checked_mul(features).is_none_or(|n| i32::try_from(n).is_err()) {
            return Err(format!("{trees} trees for rows {}", x.shape()));
        }
        let ints = |values: Vec<i32>| c.constant(Tensor::new([values.len()], values));
        let of_nodes =
            |f: &dyn Fn((usize, &Node)) -> i32| ints(self.nodes.iter().enumerate().map(f).collect());
        let feature = of_nodes(&|(_, node)| node.feature as i32)?;
        // Leaves lead to themselves.
        let next =
            |k: usize| of_nodes(&move |(i, node)| if node.test.is_some() { node.next[k] } else { i } as i32);
        let (yes, no) = (next(0)?, next(1)?);
        let missing = of_nodes(&|(_, node)| node.missing.into())?;
        let test = of_nodes(&|(_, node)| node.test.map_or(-1, |t| t as i32))?;
        let splits: Vec<f64> = self.nodes.iter().map(|node| node.split).collect();
        let split = c.constant(Tensor::from_f64s(dtype, [splits.len()], &splits))?;
        let used: Vec<Test> =
            TESTS.into_iter().filter(|&t| self.nodes.iter().any(|n| n.test == Some(t))).collect();
        let can_miss = self.nodes.iter().any(|n| n.missing);

        let cells = x.reshape([n * features]);
        let start = c.b.iota(0, [n, trees], DType::I32) * features as f64;
        let roots: Vec<i32> = self.roots.iter().map(|&r| r as i32).collect();
        let mut at = ints(roots)?.broadcast_to([n, trees]);
        for _ in 0..depth {
            let value = cells.take(start + feature.take(at));
            let limit = split.take(at);
            let none = value.equal(value).equal(0.0);
            let kind = test.take(at);
            let tested = used
                .iter()
                .map(|&t| (t, t.of(value, limit)))
                .reduce(|(_, before), (t, own)| (t, kind.equal(f64::from(t as u8)).select(own, before)));
            let Some((_, passed)) = tested else { break };
            let otherwise = match can_miss {
                true => missing.take(at).cast(DType::U8),
                false => c.b.fill_as(0.0, passed.shape(), DType::U8),
            };
            at = none.select(otherwise, passed).select(yes.take(at), no.take(at));
        }

        let neutral = match together {
            Together::Sum | Together::Average => 0.0,
            Together::Min => f64::INFINITY,
            Together::Max => f64::NEG_INFINITY,
        };
        // A row for each node, or for each leaf if that is less.
        let mut number: HashMap<usize, usize> = HashMap::new();
        let mut rows: Vec<i32> = vec![0; self.nodes.len()];
        for &(node, ..) in &self.votes {
            let next = number.len() + 1;
            let row = *number.entry(node).or_insert(next);
            *rows.get_mut(node).ok_or_else(|| format!("a leaf {node} does not exist"))? = row as i32;
        }
        let size = (number.len() + 1).saturating_mul(self.targets);
        if size > MOST {
            return Err(format!("{} leaves with {} targets are too many", number.len(), self.targets));
        }
        c.room_for(size)?;
        let mut weights = vec![neutral; size];
        for &(node, target, weight) in &self.votes {
            let row = number.get(&node).copied().unwrap_or(0);
            let own = weights.get_mut(row * self.targets + target).filter(|_| target < self.targets);
            let own = own.ok_or_else(|| format!("a leaf is for target {target} of {}", self.targets))?;
            *own = match together {
                Together::Sum | Together::Average => *own + weight,
                Together::Min => own.min(weight),
                Together::Max => own.max(weight),
            };
        }
        let weights = c.constant(Tensor::from_f64s(dtype, [number.len() + 1, self.targets], &weights))?;
        let said = weights.take(ints(rows)?.take(at)); // [n, trees, targets]
        // A target that nothing is said of is 0.
        let spoken = |v: Value<'g>| v.equal(neutral).select(c.b.fill_as(0.0, v.shape(), dtype), v);
        Ok(match together {
            Together::Sum => said.sum(&[1]),
            Together::Average => said.mean(&[1]),
            Together::Min => spoken(said.reduce_min(&[1])),
            Together::Max => spoken(said.reduce_max(&[1])),
        })
    }
}

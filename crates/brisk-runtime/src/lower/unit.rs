//! Units: which nodes of a list run as one step, and in which order.

use brisk_graph::op::Cut;

use super::*;

impl Lowering<'_> {
    /// The iteration space of a node that an elementwise group may hold.
    fn space(&self, list: &List, n: usize) -> Option<Vec<usize>> {
        let node = &self.graph.nodes[n];
        if is_elementwise(self.graph, n) {
            return Some(node.shape.to_vec());
        }
        if is_access(self.graph, n) {
            // Its users read through it, unless one of them is no elementwise operation.
            return Some(node.shape.to_vec());
        }
        match self.prim(n) {
            Some(Prim::Reduce(Reduce::Sum, axes)) if !on_host(self.graph, node) => {
                let from = self.shape(self.input(n, 0));
                let all = axes.len() == from.rank() && from.rank() > 0;
                let columns = from.rank() >= 2
                    && axes.len() == from.rank() - 1
                    && axes[axes.len() - 1] == axes.len() - 1;
                let mixes = !list.by_tile || self.places.place[n] == Place::Sum;
                (mixes && (all || columns)).then(|| from.to_vec())
            }
            _ => None,
        }
    }

    /// Whether somebody needs an access written out.
    fn needs_memory(&self, list: &List, n: usize) -> bool {
        self.root[n]
            || self.kept[n]
            || self.users[n].iter().any(|&u| {
                let same_list = list.member.contains(&u);
                let reads_through = self.space_of_user(list, u, n);
                (same_list || self.places.place[n] == Place::Whole) && !reads_through
            })
    }

    fn space_of_user(&self, list: &List, user: usize, n: usize) -> bool {
        if list.taken.contains(&user)
            && !list.unit_of.get(&user).is_some_and(|&u| matches!(list.units[u], Unit::Elementwise { .. }))
        {
            // A pattern knows its biases and zeros.
            return is_access(self.graph, n) && !matches!(self.prim(user), Some(Prim::MaxPoolGrad(..)));
        }
        let sum = matches!(self.prim(user), Some(Prim::Reduce(Reduce::Sum, _))) && {
            let by_tile = self.places.place[user] != Place::Whole;
            let probe = List { by_tile, ..List::empty() };
            self.space(&probe, user).is_some()
        };
        is_elementwise(self.graph, user)
            || sum
            || matches!((self.prim(user), self.prim(n)), (Some(Prim::Broadcast(_)), Some(Prim::Fill(..))))
    }

    pub(super) fn units(&mut self, list: &mut List) {
        for at in 0..list.nodes.len() {
            let n = list.nodes[at];
            if list.taken.contains(&n) || matches!(self.prim(n), Some(Prim::Reshape(_))) {
                continue;
            }
            if is_access(self.graph, n) && !self.needs_memory(list, n) {
                continue;
            }
            let unit = list.units.len();
            list.unit_of.insert(n, unit);
            let Some(dims) = self.space(list, n) else {
                if self.join_siblings(list, n) {
                    continue;
                }
                list.units.push(Unit::Single(n));
                self.join_pools(list, n);
                continue;
            };
            list.units.push(Unit::Elementwise { nodes: vec![n], dims: dims.clone() });
            if self.trace || is_access(self.graph, n) {
                continue;
            }
            // Join the groups of what it reads, and groups that read the same.
            let mut candidates: Vec<usize> = Vec::new();
            for id in &self.graph.nodes[n].inputs {
                let i = id.index();
                if is_access(self.graph, i) {
                    continue;
                }
                candidates.extend(list.unit_of.get(&i));
                if self.shape(i)[..] == dims[..] {
                    candidates
                        .extend(self.users[i].iter().filter(|&&u| u < n).filter_map(|u| list.unit_of.get(u)));
                }
            }
            candidates.sort_unstable();
            candidates.dedup();
            // What was just begun is read by none.
            let mut alone = true;
            for c in candidates.into_iter().rev() {
                let own = list.unit_of[&n];
                if c == own {
                    continue;
                }
                let fits = matches!(&list.units[c], Unit::Elementwise { nodes, dims: d } if *d == dims
                    && !nodes.iter().any(|&m| is_access(self.graph, m)) && nodes.len() < 200);
                let fits = fits && !self.reads_memory(list, own, c) && !self.reads_memory(list, c, own);
                if fits && !self.path_between(list, c, own) && (alone || !self.path_between(list, own, c)) {
                    alone = false;
                    let Unit::Elementwise { nodes, .. } = std::mem::replace(&mut list.units[c], Unit::Merged)
                    else {
                        continue;
                    };
                    list.unit_of.extend(nodes.iter().map(|&m| (m, own)));
                    if let Unit::Elementwise { nodes: mine, .. } = &mut list.units[own] {
                        mine.extend(nodes);
                        mine.sort_unstable();
                    }
                }
            }
        }
    }

    /// Results of one kernel that cuts itself are one unit: `n` joins those before it, or begins a unit. False if it is nothing
    /// of the kind.
    fn join_siblings(&self, list: &mut List, n: usize) -> bool {
        let node = &self.graph.nodes[n];
        let Op::Named(def, attrs) = &node.op else { return false };
        if def.kernel.as_ref().is_none_or(|k| k.cut != Cut::Parts) {
            return false;
        }
        let sibling = |m: usize| {
            let other = &self.graph.nodes[m];
            other.inputs == node.inputs
                && matches!(&other.op, Op::Named(d, a) if d == def && a.without("result") == attrs.without("result"))
        };
        let found = node.inputs.first().and_then(|id| {
            let users = self.users[id.index()].iter().filter(|&&m| m < n && sibling(m));
            users.filter_map(|m| list.unit_of.get(m)).next().copied()
        });
        match found.map(|u| (u, &mut list.units[u])) {
            Some((unit, Unit::Siblings(nodes))) => {
                nodes.push(n);
                list.unit_of.insert(n, unit);
            }
            _ => list.units.push(Unit::Siblings(vec![n])),
        }
        true
    }

    /// A max pooling and the index of its winners are one unit.
    fn join_pools(&self, list: &mut List, index: usize) {
        let Some(Prim::MaxPoolIndex(window)) = self.prim(index) else { return };
        let twin = |&u: &usize| matches!(self.prim(u), Some(Prim::MaxPool(w)) if w == window);
        let map = self.users[self.input(index, 0)].iter().copied().find(twin);
        if let Some(map) = map
            && let Some(&unit) = list.unit_of.get(&map)
            && matches!(list.units[unit], Unit::Single(_))
        {
            list.units.pop();
            list.units[unit] = Unit::Pool { map, index };
            list.unit_of.insert(index, unit);
        }
    }

    /// Calls `f` with the nodes that a unit computes.
    fn each_node(&self, list: &List, unit: usize, f: &mut dyn FnMut(usize)) {
        match &list.units[unit] {
            Unit::Elementwise { nodes, .. } | Unit::Siblings(nodes) => nodes.iter().for_each(|&n| f(n)),
            Unit::Single(n) => f(*n),
            Unit::Pool { map, index } => [*map, *index].into_iter().for_each(f),
            Unit::ConvPool(c) => c.nodes.iter().for_each(|&n| f(n)),
            Unit::ConvPoolGrad(c) => c.backward.iter().flat_map(|b| &b.nodes).for_each(|&n| f(n)),
            Unit::ConvBias { conv, result, .. } => [*conv, *result].into_iter().for_each(f),
            Unit::Merged => {}
        }
    }

    /// Calls `f` with the units that a unit reads from, in the same list; with some of them more than once.
    fn each_source(&self, list: &List, unit: usize, f: &mut dyn FnMut(usize)) {
        let mut other = |u| {
            if u != unit {
                f(u);
            }
        };
        self.each_node(list, unit, &mut |n| self.source_units(list, n, &mut other));
        if let Unit::ConvPoolGrad(c) = &list.units[unit] {
            other(list.unit_of[&c.pool]);
            self.source_units(list, c.conv, &mut other);
        }
    }

    fn source_units(&self, list: &List, n: usize, f: &mut dyn FnMut(usize)) {
        for id in &self.graph.nodes[n].inputs {
            let i = id.index();
            match list.unit_of.get(&i) {
                Some(&u) => f(u),
                // Reshapes and accesses that are no units: look through them.
                None if list.member.contains(&i) => self.source_units(list, i, f),
                None => {}
            }
        }
    }

    /// Whether `to` depends on `from` through some unit between them.
    fn path_between(&self, list: &List, from: usize, to: usize) -> bool {
        let mut seen = vec![false; list.units.len()];
        let mut open = Vec::new();
        self.each_source(list, to, &mut |u| {
            if u != from && !std::mem::replace(&mut seen[u], true) {
                open.push(u);
            }
        });
        while let Some(u) = open.pop() {
            self.each_source(list, u, &mut |s| {
                if !std::mem::replace(&mut seen[s], true) {
                    open.push(s);
                }
            });
            if seen[from] {
                return true;
            }
        }
        false
    }

    /// Whether a unit reads what another one leaves in memory, once that has run: its sums, and its values in another shape. All
    /// else is handed on within a group.
    fn reads_memory(&self, list: &List, reader: usize, of: usize) -> bool {
        let mut found = false;
        self.each_node(list, reader, &mut |n| {
            for id in &self.graph.nodes[n].inputs {
                let i = id.index();
                match list.unit_of.get(&i) {
                    Some(&u) => found |= u == of && matches!(self.prim(i), Some(Prim::Reduce(..))),
                    None if list.member.contains(&i) => {
                        self.source_units(list, i, &mut |u| found |= u == of);
                    }
                    None => {}
                }
            }
        });
        found
    }

    /// The units in an order in which they can run: always the ready one whose last node is earliest.
    pub(super) fn order(&self, list: &List) -> Vec<usize> {
        let alive: Vec<usize> =
            (0..list.units.len()).filter(|&u| !matches!(list.units[u], Unit::Merged)).collect();
        let last = |u: usize| {
            let mut last = 0;
            self.each_node(list, u, &mut |n| last = last.max(n));
            last
        };
        let mut waits: Map<usize, usize> = Map::default();
        let mut feeds: Map<usize, Vec<usize>> = Map::default();
        let mut ready = BTreeSet::new();
        for &u in &alive {
            let mut sources = BTreeSet::new();
            self.each_source(list, u, &mut |s| _ = sources.insert(s));
            if sources.is_empty() {
                ready.insert((last(u), u));
            }
            waits.insert(u, sources.len());
            sources.into_iter().for_each(|s| feeds.entry(s).or_default().push(u));
        }
        let mut order = Vec::new();
        while let Some((_, u)) = ready.pop_first() {
            order.push(u);
            for &next in feeds.get(&u).into_iter().flatten() {
                if let Some(count) = waits.get_mut(&next) {
                    *count -= 1;
                    if *count == 0 {
                        ready.insert((last(next), next));
                    }
                }
            }
        }
        debug_assert_eq!(order.len(), alive.len(), "units wait for each other in a circle");
        order
    }
}

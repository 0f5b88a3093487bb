//! Fused kernels, recognized in the graph: convolutions with what follows them, and the way back.

use super::*;

impl Lowering<'_> {
    /// The single user of a node that nobody else sees, if it is in the list.
    fn sole_user(&self, list: &List, n: usize) -> Option<usize> {
        match (self.users[n].as_slice(), self.root[n], self.kept[n]) {
            (&[u], false, false) if list.member.contains(&u) && !list.taken.contains(&u) => Some(u),
            _ => None,
        }
    }

    fn is_fill(&self, n: usize, value: f64) -> bool {
        matches!(self.prim(n), Some(Prim::Fill(v, ..)) if v.0 == value)
    }

    /// `Some(bias)` if `n` adds a vector over the channels to `conv`.
    fn bias_of(&self, n: usize, conv: usize) -> Option<usize> {
        let Some(Prim::Binary(brisk_graph::prim::Binary::Add)) = self.prim(n) else { return None };
        let other = match (self.input(n, 0), self.input(n, 1)) {
            (a, b) if a == conv && b != conv => b,
            (a, b) if b == conv && a != conv => a,
            _ => return None,
        };
        let Some(Prim::Broadcast(_)) = self.prim(other) else { return None };
        let bias = self.input(other, 0);
        let channels = self.shape(conv).last();
        let fits = self.shape(bias).elements() == channels && self.shape(bias).last() == channels;
        (fits && self.places.place[bias] != Place::Sample).then_some(bias)
    }

    fn is_relu_of(&self, n: usize, x: usize) -> bool {
        matches!(self.prim(n), Some(Prim::Binary(brisk_graph::prim::Binary::Max)))
            && ((self.input(n, 0) == x && self.is_fill(self.input(n, 1), 0.0))
                || (self.input(n, 1) == x && self.is_fill(self.input(n, 0), 0.0)))
    }

    pub(super) fn conv_pool(&mut self, list: &mut List) {
        for at in 0..list.nodes.len() {
            let pool = list.nodes[at];
            if let Some(Prim::MaxPool(window)) = self.prim(pool)
                && let Some(found) = self.match_conv_pool(list, pool, window)
            {
                let forward = list.units.len();
                list.units.push(Unit::ConvPool(found.clone()));
                for &n in &found.nodes {
                    list.taken.insert(n);
                    list.unit_of.insert(n, forward);
                }
                if let Some(backward) = &found.backward {
                    let unit = list.units.len();
                    for &n in &backward.nodes {
                        list.taken.insert(n);
                        list.unit_of.insert(n, unit);
                    }
                    list.units.push(Unit::ConvPoolGrad(found));
                }
            }
        }
    }

    fn match_conv_pool(&self, list: &List, pool: usize, window: &Window) -> Option<ConvPool> {
        if window.padding != [[0, 0], [0, 0]] || !list.member.contains(&pool) {
            return None;
        }
        let map = self.input(pool, 0);
        // Backwards from the pooling: rectification, bias, convolution.
        let mut top = map;
        let mut relu = false;
        let mut nodes = vec![pool, map];
        if let Some(Prim::Binary(brisk_graph::prim::Binary::Max)) = self.prim(top) {
            let below =
                [self.input(top, 0), self.input(top, 1)].into_iter().find(|&i| self.is_relu_of(top, i))?;
            if self.sole_user(list, below) != Some(top) {
                return None;
            }
            (top, relu) = (below, true);
            nodes.push(top);
        }
        let mut bias = None;
        if let Some(Prim::Binary(_)) = self.prim(top) {
            let conv = [self.input(top, 0), self.input(top, 1)]
                .into_iter()
                .find(|&i| matches!(self.prim(i), Some(Prim::Conv(_))))?;
            bias = Some(self.bias_of(top, conv)?);
            if self.sole_user(list, conv) != Some(top) {
                return None;
            }
            top = conv;
            nodes.push(top);
        }
        let Some(Prim::Conv(conv)) = self.prim(top) else { return None };
        if conv.groups != 1 || self.root[map] || self.kept[map] || !list.member.contains(&top) {
            return None;
        }
        let mut found = ConvPool { conv: top, bias, relu, pool, index: None, nodes, backward: None };
        // Who else reads the full map: the index, and the mask of the rectification's gradient.
        let mut mask = None;
        for &user in &self.users[map] {
            match self.prim(user) {
                _ if user == pool => {}
                Some(Prim::MaxPoolIndex(w)) if w == window => found.index = Some(user),
                Some(Prim::Compare(brisk_graph::prim::Compare::Less))
                    if relu && self.is_fill(self.input(user, 0), 0.0) && self.input(user, 1) == map =>
                {
                    mask = Some(user)
                }
                _ => return None,
            }
        }
        let Some(index) = found.index else { return mask.is_none().then_some(found) };
        found.nodes.push(index);
        let scattered = self.sole_user(list, index)?;
        let Some(Prim::MaxPoolGrad(..)) = self.prim(scattered) else { return None };
        let mut gradient = scattered;
        let mut nodes = vec![scattered];
        if relu {
            let mask = mask?;
            let select = self.sole_user(list, scattered)?;
            let fits = matches!(self.prim(select), Some(Prim::Select))
                && self.input(select, 0) == mask
                && self.input(select, 1) == scattered
                && self.is_fill(self.input(select, 2), 0.0);
            if !fits || self.sole_user(list, mask) != Some(select) {
                return None;
            }
            nodes.extend([mask, select]);
            gradient = select;
        }
        if self.root[gradient] || self.kept[gradient] {
            return None;
        }
        let mut back =
            Backward { dy: self.input(scattered, 0), kernel: None, bias: None, input: None, nodes };
        let (x, kernel) = (self.input(top, 0), self.input(top, 1));
        for &user in &self.users[gradient] {
            let slot = match self.prim(user) {
                Some(Prim::Reduce(Reduce::Sum, axes)) if *axes == [0, 1, 2] => &mut back.bias,
                Some(Prim::ConvGradKernel(c, _)) if c == conv && self.input(user, 0) == x => &mut back.kernel,
                Some(Prim::ConvGradInput(c, _)) if c == conv && self.input(user, 1) == kernel => {
                    &mut back.input
                }
                _ => return None,
            };
            if !list.member.contains(&user) || slot.replace(user).is_some() {
                return None;
            }
            back.nodes.push(user);
        }
        back.kernel?;
        found.backward = Some(back);
        Some(found)
    }

    pub(super) fn conv_bias(&mut self, list: &mut List) {
        for at in 0..list.nodes.len() {
            let conv = list.nodes[at];
            if list.taken.contains(&conv) || !matches!(self.prim(conv), Some(Prim::Conv(_))) {
                continue;
            }
            let (mut result, mut bias, mut relu) = (conv, None, false);
            let mut nodes = vec![conv];
            if let Some(add) = self.sole_user(list, result)
                && let Some(vector) = self.bias_of(add, conv)
            {
                (result, bias) = (add, Some(vector));
                nodes.push(add);
            }
            if let Some(max) = self.sole_user(list, result)
                && self.is_relu_of(max, result)
            {
                (result, relu) = (max, true);
                nodes.push(max);
            }
            let unit = list.units.len();
            list.units.push(Unit::ConvBias { conv, bias, relu, result });
            for n in nodes {
                list.taken.insert(n);
                list.unit_of.insert(n, unit);
            }
        }
    }
}

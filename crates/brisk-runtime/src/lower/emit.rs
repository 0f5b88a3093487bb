//! Steps: what each unit calls, on which values.

use brisk_kernels::matmul;

use super::*;

impl Lowering<'_> {
    /// The value of a node, as this list sees it.
    fn read(&mut self, list: &List, n: usize) -> V {
        let n = self.resolve(n);
        match list.local.get(&n).or_else(|| self.global.get(&n)) {
            Some(&v) => v,
            None => self.val_for(n),
        }
    }

    /// The value that a unit of this list writes for a node.
    fn write(&mut self, list: &mut List, n: usize) -> V {
        let v = self.val_for(n);
        let own = !list.by_tile
            || self.places.place[n] == Place::Sum
            || self.kept[n] && !self.global.contains_key(&n);
        if own {
            self.global.insert(n, v);
        } else {
            list.local.insert(n, v);
        }
        v
    }

    fn sample_ref(&self, list: &List, n: usize, val: V) -> Ref {
        Ref { val, by_sample: list.by_tile && self.places.by_sample(n) }
    }

    fn pack(&mut self, list: &List, kernel: usize, packing: Packing, packs: &mut Vec<Step>) -> V {
        let kernel_root = self.resolve(kernel);
        let key = (kernel_root, packing.clone());
        if let Some(&v) = self.packed.get(&key) {
            return v;
        }
        let form = match &packing {
            Packing::Forward(conv) => Some(Form::Kernel(conv.clone())),
            Packing::Winograd(conv) => Some(Form::Winograd(conv.clone())),
            Packing::Transposed(_) | Packing::PoolGrad(_) => None,
        };
        if !self.trace
            && let Some(v) = form.and_then(|form| self.keep(kernel_root, form))
        {
            self.packed.insert(key, v);
            return v;
        }
        let (length, call) = match packing {
            Packing::Forward(conv) => (conv.pack_len(), Kernel::Pack(conv)),
            Packing::Transposed(conv) => (conv.pack_transposed_len(), Kernel::PackTransposed(conv)),
            Packing::PoolGrad(conv) => (conv.kernel_len(), Kernel::PackPoolGrad(conv)),
            Packing::Winograd(conv) => (conv.pack_len(), Kernel::PackWinograd(conv)),
        };
        let from = self.read(list, kernel);
        let v = self.new_val(length, DType::F32, Loc::None, None);
        packs.push(Step {
            kernel: call,
            inputs: vec![Ref { val: from, by_sample: false }],
            outputs: vec![Ref { val: v, by_sample: false }],
            scratch: (0, 0),
            node: Id(kernel as u32),
        });
        self.packed.insert(key, v);
        v
    }

    /// What a convolution calls, and its kernel packed for that.
    fn conv(
        &mut self,
        list: &List,
        conv: Conv2d,
        kernel: usize,
        relu: bool,
        packs: &mut Vec<Step>,
    ) -> (Kernel, V) {
        match Winograd::forward_of(&conv) {
            Some(conv) => {
                let packed = self.pack(list, kernel, Packing::Winograd(conv.clone()), packs);
                (Kernel::Winograd { conv, relu }, packed)
            }
            None => {
                let packed = self.pack(list, kernel, Packing::Forward(conv.clone()), packs);
                (Kernel::Conv { conv, relu }, packed)
            }
        }
    }

    /// A node's value in packed form, kept from run to run: only of state that the graph does not update.
    fn keep(&mut self, node: usize, form: Form) -> Option<V> {
        let Some(Prim::Input(number, ..)) = self.prim(node) else { return None };
        let stays = self.graph.inputs[*number].role == Role::State
            && self.graph.updates.iter().all(|u| u.0 != *number);
        stays.then(|| {
            let (elements, loc) = (form.len(), Loc::Kept(self.out.kept.len()));
            self.out.kept.push(Kept { input: *number, form });
            self.new_val(elements, DType::F32, loc, None)
        })
    }

    /// The matrix that a product multiplies its samples with, packed once for all tiles; none where a tile may as well read
    /// it where it lies.
    fn pack_matrix(
        &mut self,
        list: &List,
        matrix: usize,
        [m, n, k]: [usize; 3],
        transposed: bool,
        packs: &mut Vec<Step>,
    ) -> Option<V> {
        let precision = self.precision;
        let narrow = !transposed && n <= matmul::panel_width() || m < KEPT_ROWS;
        let small = narrow && precision == Precision::F32 || n * k < PACKED_ELEMENTS;
        if !list.by_tile || small || self.trace {
            return None;
        }
        let source = self.resolve(matrix);
        let key = (source, transposed);
        if let Some(&v) = self.packed_matrices.get(&key) {
            return Some(v);
        }
        if let Some(v) = self.keep(source, Form::Matrix { k, n, transposed, precision }) {
            self.packed_matrices.insert(key, v);
            return Some(v);
        }
        if m < PACKED_ROWS || precision == Precision::Int8 {
            return None;
        }
        let from = self.read(list, matrix);
        let v = self.new_val(matmul::packed_len(precision, k, n), DType::F32, Loc::None, None);
        packs.push(Step {
            kernel: Kernel::PackMatrix { n, k, transposed, precision },
            inputs: vec![Ref { val: from, by_sample: false }],
            outputs: vec![Ref { val: v, by_sample: false }],
            scratch: (0, 0),
            node: Id(matrix as u32),
        });
        self.packed_matrices.insert(key, v);
        Some(v)
    }

    pub(super) fn unit_steps(
        &mut self,
        list: &mut List,
        unit: usize,
        packs: &mut Vec<Step>,
        steps: &mut Vec<Step>,
    ) -> Result<(), Error> {
        let whole = |val: V| Ref { val, by_sample: false };
        let step = |kernel, inputs, outputs, node: usize| Step {
            kernel,
            inputs,
            outputs,
            scratch: (0, 0),
            node: Id(node as u32),
        };
        match std::mem::replace(&mut list.units[unit], Unit::Merged) {
            Unit::Merged => {}
            Unit::Single(n) => self.single(list, n, packs, steps)?,
            Unit::Siblings(nodes) => self.siblings(list, &nodes, steps),
            Unit::Pool { map, index } => {
                let Some(Prim::MaxPool(window)) = self.prim(map) else { return Ok(()) };
                let x = self.input(map, 0);
                let pool = pool2d(window, self.shape(x), self.shape(map));
                let from = self.read(list, x);
                let inputs = vec![self.sample_ref(list, x, from)];
                let mut outputs = Vec::new();
                for n in [map, index] {
                    let v = self.write(list, n);
                    outputs.push(self.sample_ref(list, n, v));
                }
                steps.push(step(Kernel::MaxPool { pool, map: true, index: true }, inputs, outputs, map));
            }
            Unit::Elementwise { nodes, dims } => {
                let inside: Set<usize> = nodes.iter().copied().collect();
                let mut stores = Vec::new();
                for &n in &nodes {
                    let seen = self.users[n].iter().any(|u| {
                        (list.member.contains(u) && !inside.contains(u))
                            || (!list.by_tile && !list.member.contains(u))
                    });
                    let clone = self.global.contains_key(&n);
                    let sum = matches!(self.prim(n), Some(Prim::Reduce(..)));
                    if seen || sum || (!clone && (self.kept[n] || self.root[n])) {
                        let v = self.write(list, n);
                        stores.push((n, v));
                    }
                }
                let last = nodes[nodes.len() - 1];
                let mut outside = Map::default();
                for &n in &nodes {
                    for id in &self.graph.nodes[n].inputs {
                        let i = id.index();
                        let through = match self.prim(i) {
                            Some(Prim::Broadcast(_)) if is_access(self.graph, i) => self.input(i, 0),
                            _ => i,
                        };
                        for j in [i, through] {
                            // A stretched value is read through; what it stretches must be somewhere.
                            let stretched = j == through && j != i;
                            if stretched || !inside.contains(&j) && !is_access(self.graph, j) {
                                let v = self.read(list, j);
                                outside.insert(j, (v, self.places.place[j]));
                            }
                        }
                    }
                }
                let group = Group {
                    graph: self.graph,
                    batch: list.by_tile.then_some(self.places.batch),
                    dims,
                    nodes,
                    stores,
                    outside: &|n| {
                        let (v, place) = outside[&n];
                        (v, if list.by_tile { place } else { Place::Whole })
                    },
                };
                let lowered = group.lower(&mut self.programs);
                let (kernel, inputs, outputs) = lowered.map_err(|m| self.fault(last, m))?;
                steps.push(step(kernel, inputs, outputs, last));
            }
            Unit::ConvBias { conv, bias, relu, result } => {
                let Some(Prim::Conv(c)) = self.prim(conv) else { return Ok(()) };
                let geometry = conv2d(
                    c,
                    self.shape(self.input(conv, 0)),
                    self.shape(self.input(conv, 1)),
                    self.shape(conv),
                );
                let (kernel, packed) = self.conv(list, geometry, self.input(conv, 1), relu, packs);
                let x = self.read(list, self.input(conv, 0));
                let mut inputs = vec![self.sample_ref(list, self.input(conv, 0), x), whole(packed)];
                if let Some(bias) = bias {
                    inputs.push(whole(self.read(list, bias)));
                }
                let y = self.write(list, result);
                let outputs = vec![self.sample_ref(list, result, y)];
                steps.push(step(kernel, inputs, outputs, result));
            }
            Unit::ConvPool(c) => {
                let (conv, pool) = self.conv_pool_geometry(&c);
                let packing = Packing::Forward(conv.clone());
                let packed = self.pack(list, self.input(c.conv, 1), packing, packs);
                let x = self.read(list, self.input(c.conv, 0));
                let mut inputs = vec![self.sample_ref(list, self.input(c.conv, 0), x), whole(packed)];
                if let Some(bias) = c.bias {
                    inputs.push(whole(self.read(list, bias)));
                }
                let y = self.write(list, c.pool);
                let mut outputs = vec![self.sample_ref(list, c.pool, y)];
                let index = match c.index {
                    Some(index) => self.write(list, index),
                    None => self.new_val(self.shape(c.pool).elements(), DType::U8, Loc::None, None),
                };
                outputs.push(self.sample_ref(list, c.pool, index));
                steps.push(step(Kernel::ConvPool { conv, pool, relu: c.relu }, inputs, outputs, c.pool));
            }
            Unit::ConvPoolGrad(c) => {
                let (conv, pool) = self.conv_pool_geometry(&c);
                let (Some(back), Some(index)) = (&c.backward, c.index) else { return Ok(()) };
                let Some(kernel_gradient) = back.kernel else { return Ok(()) };
                let packing = Packing::PoolGrad(conv.clone());
                let packed = self.pack(list, self.input(c.conv, 1), packing, packs);
                let mut inputs = Vec::new();
                let x_node = self.input(c.conv, 0);
                let x = self.read(list, x_node);
                inputs.push(self.sample_ref(list, x_node, x));
                inputs.push(whole(packed));
                for n in [c.pool, index, back.dy] {
                    let v = self.read(list, n);
                    inputs.push(self.sample_ref(list, n, v));
                }
                let raw = self.new_val(conv.kernel_len(), DType::F32, Loc::None, Some(kernel_gradient));
                let bias = match back.bias {
                    Some(n) => self.write(list, n),
                    None => self.new_val(conv.out_c, DType::F32, Loc::None, None),
                };
                let mut outputs = vec![whole(raw), whole(bias)];
                if let Some(input) = back.input {
                    let v = self.write(list, input);
                    outputs.push(self.sample_ref(list, input, v));
                }
                let dw = self.write(list, kernel_gradient);
                steps.push(step(
                    Kernel::ConvPoolGrad { conv: conv.clone(), pool, relu: c.relu },
                    inputs,
                    outputs,
                    kernel_gradient,
                ));
                steps.push(step(Kernel::Unpack(conv), vec![whole(raw)], vec![whole(dw)], kernel_gradient));
            }
        }
        Ok(())
    }

    fn conv_pool_geometry(&self, c: &ConvPool) -> (Conv2d, Pool2d) {
        let x = self.shape(self.input(c.conv, 0));
        let (map, pooled) = (self.shape(c.conv), self.shape(c.pool));
        let default = Conv::default();
        let conv = match self.prim(c.conv) {
            Some(Prim::Conv(conv)) => conv,
            _ => &default,
        };
        let geometry = conv2d(conv, x, self.shape(self.input(c.conv, 1)), map);
        let pool = match self.prim(c.pool) {
            Some(Prim::MaxPool(window)) => pool2d(window, map, pooled),
            _ => Pool2d::global(1, 1, 1),
        };
        (geometry, pool)
    }

    /// Several results of one kernel that cuts itself.
    fn siblings(&mut self, list: &mut List, nodes: &[usize], steps: &mut Vec<Step>) {
        let Some(&first) = nodes.first() else { return };
        let graph = self.graph;
        let Op::Named(def, attrs) = &graph.nodes[first].op else { return };
        let operands: Vec<usize> = graph.nodes[first].inputs.iter().map(|id| id.index()).collect();
        let whole = |val: V| Ref { val, by_sample: false };
        let inputs = operands.iter().map(|&n| whole(self.read(list, n))).collect();
        let shapes = operands.iter().map(|&n| self.shape(n).clone()).collect();
        let mut results = Vec::new();
        let mut outputs = Vec::new();
        for &n in nodes {
            let Op::Named(_, attrs) = &graph.nodes[n].op else { continue };
            results.push(attrs.get_int("result") as usize);
            outputs.push(whole(self.write(list, n)));
        }
        let kernel = Kernel::Parted { def, attrs: attrs.clone(), shapes, results };
        steps.push(Step { kernel, inputs, outputs, scratch: (0, 0), node: Id(first as u32) });
    }

    pub(super) fn fault(&self, n: usize, message: String) -> Error {
        let node = &self.graph.nodes[n];
        let scope = node.scope.to_string();
        Error::Graph(brisk_graph::Error::Operands { scope, op: node.op.name(), message })
    }

    fn single(
        &mut self,
        list: &mut List,
        n: usize,
        packs: &mut Vec<Step>,
        steps: &mut Vec<Step>,
    ) -> Result<(), Error> {
        let node = &self.graph.nodes[n];
        let sample = list.by_tile;
        let by_sample = |i: usize, this: &Self| {
            let operand = this.input(n, i);
            // Operands that have something for every sample, whether computed by tile or not.
            let per_sample = match &node.op {
                Op::Named(def, _) => def.kernel.as_ref().is_some_and(|k| k.by_row.get(i) == Some(&true)),
                Op::Prim(Prim::Concat(_) | Prim::MaxPoolGrad(..) | Prim::MaxPoolTake(_)) => true,
                Op::Prim(Prim::MatMul { .. }) => node.shape.rank() > 2,
                _ => false,
            };
            sample && (this.places.by_sample(operand) || per_sample)
        };
        let inputs: Vec<usize> = node.inputs.iter().map(|id| id.index()).collect();
        let mut refs = Vec::new();
        for (i, &input) in inputs.iter().enumerate() {
            let val = self.read(list, input);
            refs.push(Ref { val, by_sample: by_sample(i, self) });
        }
        let shape = &node.shape;
        let of = |i: usize| self.shape(inputs[i]);
        let prim = match &node.op {
            Op::Named(def, attrs) => {
                let shapes = (0..inputs.len()).map(|i| of(i).clone()).collect();
                let kernel = Kernel::Named { def, attrs: attrs.clone(), shapes, columns: shape.last() };
                self.push(list, n, kernel, refs, steps);
                return Ok(());
            }
            Op::Prim(prim) => prim,
        };
        let kernel = match prim {
            _ if on_host(self.graph, node) => {
                let shapes = (0..inputs.len()).map(|i| of(i).clone()).collect();
                Kernel::Host { prim: prim.clone(), shapes }
            }
            Prim::MatMul { ta, tb } => {
                let rank = shape.rank();
                let a = of(0);
                let k = a[if *ta { rank - 2 } else { rank - 1 }];
                let batch = shape[..rank - 2].iter().product();
                let (m, n) = (shape[rank - 2], shape[rank - 1]);
                let packed = match batch == 1 && !*ta && refs[0].by_sample && !refs[1].by_sample {
                    true => self.pack_matrix(list, inputs[1], [m, n, k], *tb, packs),
                    false => None,
                };
                if let Some(v) = packed {
                    refs[1].val = v;
                }
                // The matrix of a layer, or its gradient.
                let large = batch == 1 && if *ta { m * n } else { n * k } >= PACKED_ELEMENTS;
                let precision = match self.precision {
                    Precision::Int8 if packed.is_none() => Precision::F32,
                    precision if large => precision,
                    _ => Precision::F32,
                };
                Kernel::MatMul { batch, m, n, k, ta: *ta, tb: *tb, packed: packed.is_some(), precision }
            }
            Prim::Conv(c) => {
                let conv = conv2d(c, of(0), of(1), shape);
                let (kernel, packed) = self.conv(list, conv, inputs[1], false, packs);
                refs[1].val = packed;
                kernel
            }
            Prim::ConvGradInput(c, _) => {
                let conv = conv2d(c, shape, of(1), of(0));
                let (kernel, packing) = match Winograd::grad_input_of(&conv) {
                    Some(conv) => {
                        (Kernel::Winograd { conv: conv.clone(), relu: false }, Packing::Winograd(conv))
                    }
                    None => (Kernel::ConvGradInput(conv.clone()), Packing::Transposed(conv)),
                };
                refs[1].val = self.pack(list, inputs[1], packing, packs);
                kernel
            }
            Prim::ConvGradKernel(c, _) => {
                let conv = conv2d(c, of(0), shape, of(1));
                match WinogradGrad::of(&conv, of(0)[0]) {
                    Some(conv) if !list.by_tile || self.places.place[n] == Place::Sum => {
                        Kernel::WinogradGrad(conv)
                    }
                    _ => Kernel::ConvGradKernel(conv),
                }
            }
            Prim::MaxPool(w) => Kernel::MaxPool { pool: pool2d(w, of(0), shape), map: true, index: false },
            Prim::MaxPoolIndex(w) => {
                Kernel::MaxPool { pool: pool2d(w, of(0), shape), map: false, index: true }
            }
            Prim::MaxPoolGrad(w, _) => Kernel::MaxPoolGrad(pool2d(w, shape, of(0))),
            Prim::MaxPoolTake(w) => Kernel::MaxPoolTake(pool2d(w, of(0), shape)),
            Prim::SumPool(w) => Kernel::SumPool(pool2d(w, of(0), shape)),
            Prim::SumPoolGrad(w, _) => Kernel::SumPoolGrad(pool2d(w, shape, of(0))),
            Prim::Take => Kernel::Take(of(0)[1..].iter().product()),
            Prim::ScatterAdd(_) => Kernel::ScatterAdd(shape[1..].iter().product()),
            Prim::Random(stream, _) => Kernel::Random(*stream),
            Prim::ArgMax(axis) => {
                let x = of(0);
                Kernel::ArgMax([x[..*axis].iter().product(), x[*axis], x[axis + 1..].iter().product()])
            }
            Prim::Reduce(kind, axes) => return self.reduce(list, n, *kind, axes, refs[0], steps),
            Prim::Broadcast(_) => copy(shape, 0, of(0).strides_in(shape), shape, 0, None),
            Prim::Transpose(perm) => {
                let strides = of(0).strides();
                let from_strides = perm.iter().map(|&p| strides[p] as isize).collect();
                copy(shape, 0, from_strides, shape, 0, None)
            }
            Prim::Slice { start, step, .. } => {
                let strides = of(0).strides();
                let from = start.iter().zip(&strides).map(|(s, t)| s * t).sum();
                let from_strides = step.iter().zip(&strides).map(|(s, t)| (s * t) as isize).collect();
                copy(shape, from, from_strides, shape, 0, None)
            }
            Prim::Reverse(axes) => {
                let strides = of(0).strides();
                let from = axes.iter().map(|&a| (shape[a].max(1) - 1) * strides[a]).sum();
                let sign =
                    |a: usize| if axes.contains(&a) { -(strides[a] as isize) } else { strides[a] as isize };
                copy(shape, from, (0..shape.rank()).map(sign).collect(), shape, 0, None)
            }
            Prim::Pad { low, inner, value, .. } => {
                let x = of(0);
                let strides = shape.strides();
                let to = low.iter().zip(&strides).map(|(l, s)| l * s).sum();
                let to_strides = inner.iter().zip(&strides).map(|(i, s)| ((i + 1) * s) as isize).collect();
                Kernel::Copy {
                    fill: Some(value.0),
                    copies: vec![Copy { dims: x.to_vec(), from: 0, from_strides: signed(x), to, to_strides }],
                }
            }
            Prim::Concat(axis) => {
                let strides = shape.strides();
                let mut start = 0;
                let mut copies = Vec::new();
                for &input in &inputs {
                    let x = self.shape(input);
                    let to = start * strides[*axis];
                    start += x[*axis];
                    copies.push(Copy {
                        dims: x.to_vec(),
                        from: 0,
                        from_strides: signed(x),
                        to,
                        to_strides: signed(shape),
                    });
                }
                Kernel::Copy { fill: None, copies }
            }
            _ => return Err(self.fault(n, "has no kernel".into())),
        };
        self.push(list, n, kernel, refs, steps);
        Ok(())
    }

    fn push(&mut self, list: &mut List, n: usize, kernel: Kernel, inputs: Vec<Ref>, steps: &mut Vec<Step>) {
        let v = self.write(list, n);
        let outputs = vec![self.sample_ref(list, n, v)];
        steps.push(Step { kernel, inputs, outputs, scratch: (0, 0), node: Id(n as u32) });
    }

    /// One contiguous run of axes after another, from the last.
    fn reduce(
        &mut self,
        list: &mut List,
        n: usize,
        kind: Reduce,
        axes: &[usize],
        mut from: Ref,
        steps: &mut Vec<Step>,
    ) -> Result<(), Error> {
        let mut dims = self.shape(self.input(n, 0)).to_vec();
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for &a in axes {
            match runs.last_mut() {
                Some(run) if run.1 == a => run.1 += 1,
                _ => runs.push((a, a + 1)),
            }
        }
        while let Some((start, end)) = runs.pop() {
            let [outer, middle, inner] =
                [&dims[..start], &dims[start..end], &dims[end..]].map(|d| d.iter().product::<usize>());
            dims.drain(start..end);
            let kernel = Kernel::Reduce(kind, [outer, middle, inner]);
            if runs.is_empty() {
                self.push(list, n, kernel, vec![from], steps);
            } else {
                let val = self.new_val(outer * inner, self.graph.nodes[n].dtype, Loc::None, Some(n));
                let to = Ref { val, by_sample: list.by_tile };
                steps.push(Step {
                    kernel,
                    inputs: vec![from],
                    outputs: vec![to],
                    scratch: (0, 0),
                    node: Id(n as u32),
                });
                from = to;
            }
        }
        Ok(())
    }
}

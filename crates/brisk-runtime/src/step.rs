//! Steps: calls of kernels on values, before and after memory is planned.

use std::sync::Arc;

use brisk_graph::op::{Attrs, OpDef};
use brisk_graph::prim::{Prim, Reduce};
use brisk_graph::{DType, Id, Shape};
use brisk_kernels::conv::{Conv2d, Winograd, WinogradGrad};
use brisk_kernels::elementwise::Program;
use brisk_kernels::matmul::Precision;
use brisk_kernels::pool::Pool2d;

/// A value of the plan.
pub type V = usize;

/// Where a value lies. Offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loc {
    /// Not planned yet, or never needed in memory.
    None,
    /// In the arena of the thread that runs a tile: that tile's samples only.
    Arena(usize),
    /// In the memory that all threads share.
    Shared(usize),
    /// The graph's input of this number.
    Input(usize),
    /// A constant of the plan.
    Constant(usize),
    /// A matrix of the state in packed form, by its number in the plan.
    Kept(usize),
}

/// What is known of a value.
#[derive(Clone, Debug)]
pub struct Val {
    /// Elements in all (of all samples).
    pub elements: usize,
    /// Their type.
    pub dtype: DType,
    /// Where it lies.
    pub loc: Loc,
    /// Where each group of tiles adds up its own part, in bytes from the group's base.
    pub sum: Option<usize>,
    /// The node it came from, for people.
    pub node: Option<Id>,
}

impl Val {
    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        self.elements * self.dtype.size()
    }
}

/// A use of a value by a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ref {
    /// The value.
    pub val: V,
    /// A tile sees its own samples only (otherwise all of it).
    pub by_sample: bool,
}

/// Strided copies of a value into another.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Size of each axis; axis 0 counts the samples if the step runs by tile.
    pub dims: Vec<usize>,
    /// First element read.
    pub from: usize,
    /// Distance between elements read, along each axis.
    pub from_strides: Vec<isize>,
    /// First element written.
    pub to: usize,
    /// Distance between elements written, along each axis.
    pub to_strides: Vec<isize>,
}

/// The rows of a result, which threads share out between them, if copies write each row from one of theirs: the copies' axis of
/// the rows, their number, and the elements of each.
pub fn rows(copies: &[Copy], elements: usize) -> Option<(usize, usize, usize)> {
    let first = copies.first()?;
    let axis = (0..first.dims.len()).find(|&a| first.dims[a] > 1)?;
    let count = first.dims[axis];
    let row = elements / count;
    let own = |copy: &Copy| {
        let others = (0..copy.dims.len()).filter(|&a| a != axis && copy.dims[a] > 1);
        let reach =
            others.clone().map(|a| (copy.dims[a] - 1) * copy.to_strides[a].unsigned_abs()).sum::<usize>();
        copy.dims.get(axis) == Some(&count)
            && copy.to_strides[axis] == row as isize
            && others.clone().all(|a| copy.to_strides[a] >= 0)
            && copy.to + reach < row
    };
    (row * count == elements && copies.iter().all(own)).then_some((axis, count, row))
}

/// What a step calls.
// `ConvGradKernel` is named after its primitive: the gradient by the convolution's kernel.
#[allow(clippy::enum_variant_names)]
pub enum Kernel {
    /// A chain of elementwise operations; operands are the inputs and then the outputs.
    Elementwise {
        /// The chain.
        program: Arc<Program>,
        /// The iteration space.
        dims: Vec<usize>,
        /// It has sums in it, and cannot be cut between threads.
        sums: bool,
        /// Its operations, for people.
        label: String,
    },
    /// `c (+)= a b`, for each of a batch.
    MatMul {
        /// How many products; they are cut by sample if there are several.
        batch: usize,
        /// Rows of the result; cut by sample if there is one product.
        m: usize,
        /// Columns.
        n: usize,
        /// Length of the inner products.
        k: usize,
        /// `a` is stored transposed.
        ta: bool,
        /// `b` is stored transposed.
        tb: bool,
        /// `b` comes packed by [`Kernel::PackMatrix`].
        packed: bool,
        /// What the operands are rounded to.
        precision: Precision,
    },
    /// Prepares a matrix that every tile is multiplied with.
    PackMatrix {
        /// Columns.
        n: usize,
        /// Rows.
        k: usize,
        /// It is stored transposed.
        transposed: bool,
        /// What its numbers are rounded to.
        precision: Precision,
    },
    /// Prepares a convolution's kernel.
    Pack(Conv2d),
    /// Prepares a convolution's kernel for its gradient by its input.
    PackTransposed(Conv2d),
    /// Operands: x, packed kernel, bias if any.
    Conv {
        /// Its geometry.
        conv: Conv2d,
        /// Rectify the result.
        relu: bool,
    },
    /// A convolution, or the gradient of one by its input, with fewer multiplications. Operands as of [`Kernel::Conv`], with a kernel
    /// transformed for this.
    Winograd {
        /// Its geometry.
        conv: Winograd,
        /// Rectify the result.
        relu: bool,
    },
    /// Transforms a kernel for [`Kernel::Winograd`].
    PackWinograd(Winograd),
    /// Operands: dy, kernel packed transposed.
    ConvGradInput(Conv2d),
    /// Operands: x, dy. Adds up.
    ConvGradKernel(Conv2d),
    /// The same with fewer multiplications, over all samples at once.
    WinogradGrad(WinogradGrad),
    /// Convolution, bias, rectification and max pooling in one. Operands: x, packed kernel, bias if any; results: the
    /// pooled map, the index of the winners.
    ConvPool {
        /// Geometry of the convolution.
        conv: Conv2d,
        /// Geometry of the pooling.
        pool: Pool2d,
        /// Rectify in between.
        relu: bool,
    },
    /// The gradients of [`Kernel::ConvPool`]. Operands: x, kernel packed for this, pooled map, index, gradient by the
    /// pooled map; results: gradient by the kernel (channel-major, adds up), by the bias (adds up), by x if asked for.
    ConvPoolGrad {
        /// Geometry of the convolution.
        conv: Conv2d,
        /// Geometry of the pooling.
        pool: Pool2d,
        /// Rectified in between.
        relu: bool,
    },
    /// Kernel packed for [`Kernel::ConvPoolGrad`].
    PackPoolGrad(Conv2d),
    /// A channel-major kernel gradient to the kernel's own layout.
    Unpack(Conv2d),
    /// Results: the map, the index of the winners; either may be missing.
    MaxPool {
        /// Its geometry.
        pool: Pool2d,
        /// The first result is the map.
        map: bool,
        /// The last result is the index.
        index: bool,
    },
    /// Operands: dy, index.
    MaxPoolGrad(Pool2d),
    /// Operands: x, index.
    MaxPoolTake(Pool2d),
    /// Sums of windows.
    SumPool(Pool2d),
    /// Its gradient.
    SumPoolGrad(Pool2d),
    /// Reduces the middle axis of `[outer, n, inner]`; `outer` is cut by sample, or `n` if it adds up over samples.
    Reduce(Reduce, [usize; 3]),
    /// Index of the largest along the middle axis.
    ArgMax([usize; 3]),
    /// One strided copy for each input, after filling with a number if something stays uncovered.
    Copy {
        /// The number.
        fill: Option<f64>,
        /// The copies.
        copies: Vec<Copy>,
    },
    /// Rows of so many elements. Operands: table, indices.
    Take(usize),
    /// Rows of so many elements. Operands: indices, updates. Adds up.
    ScatterAdd(usize),
    /// Operand: the key.
    Random(u32),
    /// Plain evaluation of what has no kernel.
    Host {
        /// The operation.
        prim: Prim,
        /// The operands' shapes.
        shapes: Vec<Shape>,
    },
    /// A named operation's own kernel.
    Named {
        /// The operation.
        def: &'static OpDef,
        /// Its attributes.
        attrs: Attrs,
        /// The operands' whole shapes.
        shapes: Vec<Shape>,
        /// Length of a row of the result.
        columns: usize,
    },
    /// A named operation's kernel that cuts itself into parts.
    Parted {
        /// The operation.
        def: &'static OpDef,
        /// Its attributes.
        attrs: Attrs,
        /// The operands' whole shapes.
        shapes: Vec<Shape>,
        /// The number of the result that each output is.
        results: Vec<usize>,
    },
}

/// A call of a kernel.
pub struct Step {
    /// What is called.
    pub kernel: Kernel,
    /// Operands.
    pub inputs: Vec<Ref>,
    /// Results.
    pub outputs: Vec<Ref>,
    /// Where its scratch memory lies in the arena, and how many f32 it has.
    pub scratch: (usize, usize),
    /// The node that asked for it (its last), for people.
    pub node: Id,
}

impl Kernel {
    /// Its name in plans.
    pub fn name(&self) -> String {
        match self {
            Kernel::Elementwise { label, .. } => label.clone(),
            Kernel::MatMul { precision: Precision::F32, .. } => "matmul".into(),
            Kernel::MatMul { precision, .. } => format!("matmul {}", precision.name()),
            Kernel::Pack(_) | Kernel::PackMatrix { .. } => "pack".into(),
            Kernel::PackTransposed(_) => "pack_transposed".into(),
            Kernel::Conv { relu, .. } => format!("conv{}", if *relu { "+relu" } else { "" }),
            Kernel::Winograd { relu, .. } => format!("winograd{}", if *relu { "+relu" } else { "" }),
            Kernel::PackWinograd(_) => "pack_winograd".into(),
            Kernel::WinogradGrad(_) => "winograd_grad_kernel".into(),
            Kernel::ConvGradInput(_) => "conv_grad_input".into(),
            Kernel::ConvGradKernel(_) => "conv_grad_kernel".into(),
            Kernel::ConvPool { relu, .. } => format!("conv{}+max_pool", if *relu { "+relu" } else { "" }),
            Kernel::ConvPoolGrad { relu, .. } => {
                format!("conv{}+max_pool gradient", if *relu { "+relu" } else { "" })
            }
            Kernel::PackPoolGrad(_) => "pack_pool_grad".into(),
            Kernel::Unpack(_) => "unpack".into(),
            Kernel::MaxPool { .. } => "max_pool".into(),
            Kernel::MaxPoolGrad(_) => "max_pool_grad".into(),
            Kernel::MaxPoolTake(_) => "max_pool_take".into(),
            Kernel::SumPool(_) => "sum_pool".into(),
            Kernel::SumPoolGrad(_) => "sum_pool_grad".into(),
            Kernel::Reduce(kind, _) => format!("reduce {kind:?}").to_lowercase(),
            Kernel::ArgMax(_) => "argmax".into(),
            Kernel::Copy { .. } => "copy".into(),
            Kernel::Take(_) => "take".into(),
            Kernel::ScatterAdd(_) => "scatter_add".into(),
            Kernel::Random(_) => "random".into(),
            Kernel::Host { prim, .. } => format!("{} on the host", prim.name()),
            Kernel::Named { def, .. } | Kernel::Parted { def, .. } => def.name.into(),
        }
    }

    /// Its name with the sizes that say what it costs.
    pub fn describe(&self) -> String {
        match self {
            Kernel::MatMul { batch, m, n, k, ta, tb, .. } => {
                let turned = |t: &bool| if *t { "'" } else { "" };
                format!("{} {batch} x [{m}, {k}]{} [{k}, {n}]{}", self.name(), turned(ta), turned(tb))
            }
            other => other.name(),
        }
    }

    /// Multiplications and additions in one run over a batch, as if nothing were skipped.
    pub fn flops(&self, batch: usize) -> f64 {
        let conv = |c: &Conv2d| 2.0 * batch.max(1) as f64 * c.out_len() as f64 * c.rows() as f64;
        match self {
            Kernel::MatMul { batch, m, n, k, .. } => 2.0 * *batch as f64 * *m as f64 * *n as f64 * *k as f64,
            Kernel::Conv { conv: c, .. } | Kernel::ConvGradInput(c) | Kernel::ConvGradKernel(c) => conv(c),
            Kernel::ConvPool { conv: c, .. } => conv(c),
            Kernel::Winograd { conv: c, .. } => conv(c.conv()),
            Kernel::WinogradGrad(c) => conv(c.conv()),
            Kernel::ConvPoolGrad { conv: c, .. } => 2.0 * conv(c),
            Kernel::Named { def, shapes, .. } | Kernel::Parted { def, shapes, .. } => {
                named_flops(def.name, shapes)
            }
            _ => 0.0,
        }
    }

    /// [`Kernel::flops`], without what is skipped whatever the data: positions that pooling closes have no gradient, and Winograd's
    /// 4x4 results of a 3x3 kernel take 36 multiplications instead of 144.
    pub fn least_flops(&self, batch: usize) -> f64 {
        match self {
            Kernel::ConvPoolGrad { conv, pool, .. } => {
                self.flops(batch) * pool.out_len() as f64 / conv.out_len() as f64
            }
            Kernel::Winograd { .. } | Kernel::WinogradGrad(_) => self.flops(batch) / 4.0,
            _ => self.flops(batch),
        }
    }

    /// f32 of scratch memory for `n` samples.
    pub fn scratch(&self, n: usize) -> usize {
        match self {
            Kernel::Conv { conv, .. } => conv.forward_scratch(n),
            Kernel::Winograd { conv, .. } => conv.scratch(n),
            Kernel::WinogradGrad(conv) => {
                let parts = conv.parts();
                (0..parts).map(|part| conv.scratch(conv.channels(part, parts), n)).max().unwrap_or(0)
            }
            Kernel::ConvGradInput(conv) => conv.grad_input_scratch(n),
            Kernel::ConvGradKernel(conv) => conv.grad_kernel_scratch(n),
            Kernel::ConvPool { conv, pool, .. } => conv.forward_pool_scratch(pool, n),
            Kernel::ConvPoolGrad { conv, pool, .. } => conv.grad_pool_scratch(pool, n),
            _ => 0,
        }
    }
}

/// [`Kernel::flops`] of a named operation on operands of these shapes. How long texts are is not known; attention takes least if all
/// are equally long.
fn named_flops(name: &str, shapes: &[Shape]) -> f64 {
    let product = |numbers: &[usize]| numbers.iter().map(|&n| n as f64).product::<f64>();
    match (name, shapes) {
        ("attention" | "attention_grad", [q, k, _, segments, ..]) => {
            // Scores and their product with the values; on the way back the scores again, and four gradients.
            let products = if name == "attention" { 2.0 } else { 5.0 };
            2.0 * products * product(q) * product(&k[..1]) / segments[0].max(1) as f64
        }
        ("lstm_record" | "gru_record" | "simple_rnn_record", [gates, kernel, ..]) => {
            2.0 * product(&gates[..2]) * product(kernel)
        }
        ("lstm_grad" | "gru_grad" | "simple_rnn_grad", [record, kernel, ..]) => {
            2.0 * product(&record[..2]) * product(kernel)
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::named_flops;
    use brisk_graph::Shape;

    #[test]
    fn named_operations_count_their_products() {
        // Four texts of 16 rows, 32 columns: scores and values.
        let [rows, segments] = [Shape::from([64, 32]), [4, 2].into()];
        let operands = [rows.clone(), rows.clone(), rows, segments.clone(), segments];
        let texts = 4.0 * 16.0 * 16.0 * 32.0;
        assert_eq!(named_flops("attention", &operands), 2.0 * 2.0 * texts);
        assert_eq!(named_flops("attention_grad", &operands), 2.0 * 5.0 * texts);
        let operands = [Shape::from([3, 5, 32]), [8, 32].into()];
        assert_eq!(named_flops("lstm_record", &operands), 2.0 * 15.0 * 8.0 * 32.0);
        assert_eq!(named_flops("softmax", &operands), 0.0);
    }
}

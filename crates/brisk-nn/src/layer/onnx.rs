//! Onnx: a graph from elsewhere, in ONNX's operators.

use brisk_graph::{DType, Shape, Tensor, Value};
use brisk_onnx::{Dim, Item, Parameter, Port, Type, Var};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use crate::{Context, Initializer, Result};

/// A graph in ONNX's operators: what `brisk import` makes of a model file. Its inputs are the graph's, in order; it yields the graph's
/// first output, and [`OnnxOutput`](super::OnnxOutput) the others. Parameters have the names that they have in the file.
///
/// With `channels_last` pictures come in as `[n, height, width, channels]`, as everywhere in Brisk, and not as the graph has them. A graph
/// that was made for so many rows and takes no others has `rows`: it is asked several times, the last time with zeros in the rows that are
/// left.
///
/// ```
/// use brisk_nn::{LayerSpec, Onnx, Sequential};
/// let graph = serde_json::from_str(r#"{"opsets": {"": 13}, "graph": {
///     "inputs": [{"name": "x", "type": {"tensor": ["float", [{"name": "n"}, {"size": 4}]]}}],
///     "outputs": [{"name": "y", "type": "unknown"}],
///     "parameters": {"w": {"elem": "float", "shape": [4, 3], "trainable": true}},
///     "nodes": [{"op": "MatMul", "inputs": ["x", "w"], "outputs": ["y"]}]}}"#)?;
/// let model = Sequential::new([4]).add(Onnx::new(graph)).build()?;
/// assert_eq!(model.output_shape().dims(), [3]);
/// assert_eq!(model.param_specs()?[0].name, "onnx.w");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Onnx {
    /// The graph, as `brisk import` writes it.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub model: Box<brisk_onnx::Model>,
    /// Pictures come in with their channels last.
    #[serde(default)]
    pub channels_last: bool,
    /// How many rows the graph takes, if not any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
}

impl Onnx {
    /// Of a graph, with inputs as the graph has them.
    pub fn new(model: brisk_onnx::Model) -> Onnx {
        Onnx { model: Box::new(model), channels_last: false, rows: None }
    }

    /// Of a graph over pictures `[height, width, channels]`, which come in as everywhere in Brisk: turned, unless the sizes of the graph's
    /// input say that it has its channels last too, or would allow both and Brisk has exported it.
    pub fn of_pictures(model: brisk_onnx::Model, [height, width, channels]: [usize; 3]) -> Onnx {
        let fits = |sizes: [usize; 3]| match model.graph.inputs.first().map(|input| &input.ty) {
            Some(Type::Tensor(_, Some(dims))) if dims.len() == 4 => {
                let same = |(dim, size): (&Dim, usize)| !matches!(dim, Dim::Size(n) if *n != size);
                dims[1..].iter().zip(sizes).all(same)
            }
            _ => false,
        };
        let first = fits([channels, height, width]);
        let last = fits([height, width, channels]);
        let own = model.metadata.contains_key("brisk_version");
        Onnx::new(model).channels_last(!last || first && !own)
    }

    /// With pictures whose channels come last.
    pub fn channels_last(self, channels_last: bool) -> Onnx {
        Onnx { channels_last, ..self }
    }

    /// Of a graph that takes so many rows.
    pub fn rows(self, rows: usize) -> Onnx {
        Onnx { rows: Some(rows), ..self }
    }

    /// The graph's outputs.
    fn record<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Vec<Value<'g>>> {
        let item = |(value, port): (&Value<'g>, &Port)| {
            let Type::Tensor(elem, dims) = &port.ty else {
                return Err(cx.error(format!("input {:?} is no tensor but {}", port.name, port.ty)));
            };
            let pictures = self.channels_last && value.rank() == 4;
            let order = if pictures { vec![0, 3, 1, 2] } else { (0..value.rank()).collect() };
            let var = Var::turned(*elem, *value, order);
            let fits = dims.as_ref().is_none_or(|d| d.len() == var.rank());
            match fits {
                true => Ok(Some(Item::from(var))),
                false => Err(cx.error(format!(
                    "input {:?}: expected {}, found {}",
                    port.name,
                    port.ty,
                    value.shape()
                ))),
            }
        };
        let items = inputs.iter().zip(&self.model.graph.inputs).map(item).collect::<Result<Vec<_>>>()?;
        let mut host = Host { cx };
        let outputs = brisk_onnx::record(&self.model, &mut host, items).map_err(|e| cx.error(e.to_string()))?;
        let value = |(port, output): (&Port, Item<'g>)| match output {
            Item::Tensor(var) => Ok(var.settled().cast(DType::F32)),
            _ => Err(cx.error(format!("its output {:?} is no tensor", port.name))),
        };
        self.model.graph.outputs.iter().zip(outputs).map(value).collect()
    }

    /// The same, so many rows at a time.
    fn record_by<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>], rows: usize) -> Result<Vec<Value<'g>>> {
        let n = inputs.first().map_or(0, |x| x.dim(0));
        if rows == 0 || inputs.iter().any(|x| x.rank() == 0 || x.dim(0) != n) {
            return Err(cx.error(format!("its graph takes {rows} rows; expected as many rows of each input")));
        }
        let groups = n.div_ceil(rows);
        let whole = |x: &Value<'g>| {
            let mut more = vec![0; x.rank()];
            more[0] = groups * rows - n;
            x.pad(&vec![0; x.rank()], &more, 0.0)
        };
        let whole: Vec<Value<'g>> = inputs.iter().map(whole).collect();
        let ports = &self.model.graph.outputs;
        let mut results: Vec<Vec<Value<'g>>> = vec![Vec::new(); ports.len()];
        for start in (0..groups).map(|group| group * rows) {
            let own: Vec<Value<'g>> = whole.iter().map(|x| x.slice(0, start, start + rows)).collect();
            for ((all, value), port) in results.iter_mut().zip(self.record(cx, &own)?).zip(ports) {
                if value.rank() == 0 || value.dim(0) != rows {
                    return Err(cx.error(format!(
                        "its graph takes {rows} rows, but its output {:?} is {}; export it for any number of rows",
                        port.name,
                        value.shape()
                    )));
                }
                all.push(value);
            }
        }
        Ok(results.iter().map(|all| cx.builder().concat(all, 0).slice(0, 0, n)).collect())
    }
}

impl Layer for Onnx {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let ports = &self.model.graph.inputs;
        if inputs.len() > ports.len() {
            return Err(cx.error(format!("its graph has {} inputs, found {}", ports.len(), inputs.len())));
        }
        let results = match self.rows {
            None => self.record(cx, inputs)?,
            Some(rows) => self.record_by(cx, inputs, rows)?,
        };
        let Some(&first) = results.first() else { return Err(cx.error("its graph has no output")) };
        let names = self.model.graph.outputs.iter().map(|port| port.name.clone());
        cx.set_results_of(first, names.zip(results));
        Ok(first)
    }
}

struct Host<'c, 'g> {
    cx: &'c mut Context<'g>,
}

impl<'g> brisk_onnx::Host<'g> for Host<'_, 'g> {
    fn builder(&self) -> &'g brisk_graph::Builder {
        self.cx.builder()
    }

    fn parameter(&mut self, name: &str, parameter: &Parameter) -> Result<Value<'g>, String> {
        let shape = &parameter.shape[..];
        // Its numbers come from the file.
        let value = match parameter.trainable {
            true => self.cx.param(name, shape, &Initializer::Zeros),
            false => self.cx.state(name, shape, &Initializer::Zeros),
        };
        value.map_err(|e| e.to_string())
    }

    fn look(&mut self, _: Value<'g>) -> Result<Option<Tensor>, String> {
        Ok(None)
    }

    fn random(&mut self, shape: &Shape) -> Result<Value<'g>, String> {
        match self.cx.key() {
            Some(key) => Ok(self.cx.builder().random(key, shape)),
            None => Err("random numbers are there only while a model is trained".into()),
        }
    }

    fn training(&self) -> bool {
        self.cx.is_training()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LayerSpec, Model, ModelInput, OnnxOutput};

    #[test]
    fn pictures_are_turned_if_the_graph_has_them_so() {
        let turned = |dims: &str, metadata: &str| {
            let text = format!(
                r#"{{"opsets": {{"": 13}}, "metadata": {metadata}, "graph": {{"inputs": [{{"name": "x", "type": {{"tensor": ["float", {dims}]}}}}],
                "outputs": [], "nodes": []}}}}"#
            );
            Onnx::of_pictures(serde_json::from_str(&text).unwrap(), [8, 8, 3]).channels_last
        };
        let size = |n: usize| format!(r#"{{"size": {n}}}"#);
        let dims = |sizes: [usize; 3]| format!(r#"["unknown", {}]"#, sizes.map(size).join(", "));
        assert!(turned(&dims([3, 8, 8]), "{}") && !turned(&dims([8, 8, 3]), "{}"));
        // What fits neither is for the layer to refuse.
        assert!(turned(&dims([9, 9, 3]), "{}") && turned("null", "{}"));
        let free = r#"["unknown", "unknown", "unknown", "unknown"]"#;
        assert!(turned(free, "{}") && !turned(free, r#"{"brisk_version": "0.1.0"}"#));
    }

    #[test]
    fn no_rows_and_outputs_without_rows_are_refused() {
        let graph: brisk_onnx::Model = serde_json::from_str(
            r#"{"opsets": {"": 13}, "graph": {
            "inputs": [{"name": "x", "type": {"tensor": ["float", [{"size": 2}, {"size": 4}]]}}],
            "outputs": [{"name": "all", "type": "unknown"}],
            "nodes": [{"op": "ReduceSum", "inputs": ["x"], "outputs": ["all"], "attributes": {"keepdims": {"int": 0}}}]}}"#,
        )
        .unwrap();
        let error = |rows| {
            let layer = LayerSpec::new(Onnx::new(graph.clone()).rows(rows)).name("graph");
            Model::new(vec![ModelInput::new("x", [4])], vec![layer], &[]).unwrap_err().to_string()
        };
        assert!(error(2).contains("its output \"all\" is []"), "{}", error(2));
        assert!(error(0).contains("takes 0 rows"), "{}", error(0));
    }

    #[test]
    fn each_output_can_be_had() {
        let graph = serde_json::from_str(
            r#"{"opsets": {"": 13}, "graph": {
            "inputs": [{"name": "x", "type": {"tensor": ["float", [{"name": "n"}, {"size": 4}]]}}],
            "outputs": [{"name": "big", "type": "unknown"}, {"name": "where", "type": "unknown"}],
            "nodes": [{"op": "Relu", "inputs": ["x"], "outputs": ["big"]},
                {"op": "ArgMax", "inputs": ["x"], "outputs": ["where"],
                    "attributes": {"axis": {"int": 1}, "keepdims": {"int": 0}}}]}}"#,
        )
        .unwrap();
        let layers = vec![
            LayerSpec::new(Onnx::new(graph)).name("graph"),
            LayerSpec::new(OnnxOutput::new("where")).name("where"),
        ];
        let inputs = vec![ModelInput::new("x", [4])];
        let model = Model::new(inputs, layers, &["graph".into(), "where".into()]).unwrap();
        assert_eq!(model.output_sizes(), [&[Some(4)][..], &[]]);
        let text = serde_json::to_string(&model).unwrap();
        assert_eq!(serde_json::from_str::<Model>(&text).unwrap(), model);
    }
}

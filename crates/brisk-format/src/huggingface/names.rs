//! The tensors of an encoder and its head, by both names.

use brisk_graph::Shape;

use super::family::{Kind, Part, Size};
use super::{Head, HfConfig};

/// A tensor of a model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Named {
    /// Brisk's name.
    pub ours: String,
    /// The family's name.
    pub theirs: String,
    /// What the family called it once.
    pub formerly: Option<String>,
    /// Brisk's shape.
    pub shape: Shape,
    /// Their axes are the other way round.
    pub transposed: bool,
    /// It belongs to the encoder, not to a head.
    pub of_encoder: bool,
}

impl Named {
    /// The shape in their file.
    pub fn their_shape(&self) -> Shape {
        match (self.transposed, self.shape.dims()) {
            (true, &[rows, columns]) => [columns, rows].into(),
            _ => self.shape.clone(),
        }
    }
}

/// All tensors of an encoder with a head. `prefix` stands before the names of the base model.
pub(super) fn tensors(config: &HfConfig, head: &Head, prefix: &str) -> Vec<Named> {
    let names = config.family.names();
    let encoder = &config.encoder;
    let mut all = Vec::new();
    for part in names.encoder {
        let times = match part.ours {
            "embeddings.type" if encoder.type_vocab_size == 0 => 0,
            "embeddings.projection" if encoder.embedding_size.is_none_or(|e| e == encoder.hidden_size) => 0,
            ours if ours.contains("{}") => encoder.num_layers,
            _ => 1,
        };
        all.extend((0..times).flat_map(|layer| of_part(part, config, head, prefix, Some(layer))));
    }
    let pooler = names.pooler.iter().filter(|_| uses_pooler(config, head));
    all.extend(pooler.flat_map(|part| of_part(part, config, head, prefix, None)));
    all.extend(head_parts(config, head).iter().flat_map(|part| of_part(part, config, head, "", None)));
    all
}

/// The base model's own pooler is part of what the head needs.
pub(super) fn uses_pooler(config: &HfConfig, head: &Head) -> bool {
    let own = head_parts(config, head).iter().any(|p| p.ours == "pooler");
    match head {
        Head::None | Head::Tags { .. } | Head::MaskedLanguageModel => false,
        Head::Pooler => true,
        Head::Classification { .. } | Head::MultiLabel { .. } | Head::Regression { .. } => !own,
    }
}

/// What a head has beside the base model.
pub(super) fn head_parts(config: &HfConfig, head: &Head) -> &'static [Part] {
    let names = config.family.names();
    match head {
        Head::None | Head::Pooler => &[],
        Head::Classification { .. } | Head::MultiLabel { .. } | Head::Regression { .. } => {
            names.classification
        }
        Head::Tags { .. } => names.tags,
        Head::MaskedLanguageModel => names.masked,
    }
}

/// The tensors of a part of a layer of the encoder, or of a head.
fn of_part<'a>(
    part: &'a Part,
    config: &'a HfConfig,
    head: &'a Head,
    prefix: &'a str,
    layer: Option<usize>,
) -> impl Iterator<Item = Named> + 'a {
    let numbered = move |name: &str| match layer {
        Some(layer) => name.replace("{}", &layer.to_string()),
        None => name.to_string(),
    };
    let (ours, theirs) = (numbered(part.ours), numbered(part.theirs));
    let encoder = if layer.is_some() { "encoder." } else { "" };
    let sizes: Vec<usize> = part.sizes.iter().map(|&s| size(config, head, s)).collect();
    part.tensors().iter().map(move |&(end, their_end, transposed)| Named {
        ours: format!("{encoder}{ours}{end}"),
        theirs: format!("{prefix}{theirs}{their_end}"),
        formerly: (part.kind == Kind::Norm).then(|| format!("{prefix}{theirs}{end}")),
        shape: match end {
            ".bias" => sizes.last().copied().into_iter().collect::<Vec<_>>().into(),
            _ => sizes.clone().into(),
        },
        transposed,
        of_encoder: layer.is_some(),
    })
}

fn size(config: &HfConfig, head: &Head, size: Size) -> usize {
    let encoder = &config.encoder;
    match size {
        Size::Vocab => encoder.vocab_size,
        Size::Positions => encoder.max_positions,
        Size::Types => encoder.type_vocab_size,
        Size::Embedding => encoder.embedding_size.unwrap_or(encoder.hidden_size),
        Size::Hidden => encoder.hidden_size,
        Size::Inner => encoder.intermediate_size,
        Size::Outputs => head.outputs().unwrap_or_default(),
    }
}

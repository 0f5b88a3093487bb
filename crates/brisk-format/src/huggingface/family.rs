//! The families of encoders, and how their tensors are called: one table each.

use brisk_nn::{Activation, TextEncoder};
use serde::{Deserialize, Serialize};

/// A family of encoders: what `config.json` calls `model_type`.
///
/// ```
/// use brisk_format::Family;
/// assert_eq!(Family::named("xlm-roberta"), Some(Family::XlmRoberta));
/// assert_eq!(Family::named("gpt2"), None);
/// assert_eq!(Family::Electra.model_type(), "electra");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Devlin and others, 2018.
    Bert,
    /// Liu and others, 2019.
    Roberta,
    /// Conneau and others, 2019: RoBERTa over many languages.
    XlmRoberta,
    /// Martin and others, 2019: RoBERTa over French.
    Camembert,
    /// Sanh and others, 2019.
    #[serde(rename = "distilbert")]
    DistilBert,
    /// Clark and others, 2020.
    Electra,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 6] = [
        Family::Bert,
        Family::Roberta,
        Family::XlmRoberta,
        Family::Camembert,
        Family::DistilBert,
        Family::Electra,
    ];

    /// The family of a `model_type`, if it is one of these.
    pub fn named(model_type: &str) -> Option<Family> {
        Family::ALL.into_iter().find(|f| f.model_type() == model_type)
    }

    /// The family that models are built like that have such an encoder, and such an activation behind the dense layer over the
    /// first token. `None` if there is none.
    ///
    /// ```
    /// use brisk_format::Family;
    /// use brisk_nn::{Activation, TextEncoder};
    /// let encoder: TextEncoder = serde_json::from_str(r#"{"vocab_size": 60, "hidden_size": 16, "num_layers": 2, "num_heads": 2,
    ///     "intermediate_size": 24, "max_positions": 20, "type_vocab_size": 2}"#)?;
    /// assert_eq!(Family::fitting(&encoder, None), Some(Family::Bert));
    /// assert_eq!(Family::fitting(&encoder, Some(Activation::Gelu { approximate: false })), Some(Family::Electra));
    /// assert_eq!(Family::fitting(&encoder, Some(Activation::Relu)), None);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn fitting(encoder: &TextEncoder, pooler: Option<Activation>) -> Option<Family> {
        let projected = encoder.embedding_size.is_some_and(|e| e != encoder.hidden_size);
        [Family::Bert, Family::Roberta, Family::DistilBert, Family::Electra].into_iter().find(|family| {
            pooler.is_none_or(|p| p == family.pooler_activation())
                && (encoder.type_vocab_size == 0) == (*family == Family::DistilBert)
                && (encoder.position_offset > 0) == family.names().positions_after_padding
                && (!projected || *family == Family::Electra)
        })
    }

    /// What `config.json` calls it.
    pub fn model_type(self) -> &'static str {
        self.names().model_type
    }

    /// The activation behind the dense layer that makes a text's vector from its first token.
    pub fn pooler_activation(self) -> Activation {
        match self {
            Family::DistilBert => Activation::Relu,
            Family::Electra => Activation::Gelu { approximate: false },
            _ => Activation::Tanh,
        }
    }

    pub(super) fn names(self) -> &'static Names {
        match self {
            Family::Bert => &BERT,
            Family::Roberta => &ROBERTA,
            Family::XlmRoberta => &XLM_ROBERTA,
            Family::Camembert => &CAMEMBERT,
            Family::DistilBert => &DISTILBERT,
            Family::Electra => &ELECTRA,
        }
    }
}

/// The names of a family.
#[derive(Debug)]
pub(super) struct Names {
    pub model_type: &'static str,
    /// What the names of classes such as `BertModel` begin with.
    pub class: &'static str,
    /// What stands before the names of the encoder's tensors if there is a head.
    pub prefix: &'static str,
    /// The encoder's parts; `{}` is the number of the layer.
    pub encoder: &'static [Part],
    /// The base model's own dense layer over the first token; among the encoder's names.
    pub pooler: Option<Part>,
    /// The heads' parts, beside the encoder.
    pub classification: &'static [Part],
    pub tags: &'static [Part],
    pub masked: &'static [Part],
    /// A second copy of the embeddings, and of the bias behind them, in files that have one.
    pub decoder: [&'static str; 2],
    /// The number of the token for padding, if the configuration does not say.
    pub pad_token_id: usize,
    /// The token for padding has its row in the table of positions, and texts begin behind it.
    pub positions_after_padding: bool,
    pub keys: &'static Keys,
}

/// A group of tensors, by Brisk's name and by the family's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub kind: Kind,
    pub ours: &'static str,
    pub theirs: &'static str,
    /// Of a dense layer [in, out], of a table [rows, columns], of a norm or vector [size].
    pub sizes: &'static [Size],
}

/// A size that the configuration gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Vocab,
    Positions,
    Types,
    /// Of a token's vector before the projection.
    Embedding,
    Hidden,
    /// Of the feed-forward part's inner vectors.
    Inner,
    /// What the head gives.
    Outputs,
}

/// What a part consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `kernel` [in, out] and `bias`; `weight` [out, in] and `bias`.
    Dense,
    /// `gamma` and `beta`; `weight` and `bias`, once `gamma` and `beta` too.
    Norm,
    /// A table without a further name; `weight`.
    Table,
    /// A vector without a further name, on both sides.
    Vector,
}

impl Part {
    /// Its tensors: the end of Brisk's name, the end of theirs, and whether it is transposed.
    pub fn tensors(self) -> &'static [(&'static str, &'static str, bool)] {
        match self.kind {
            Kind::Dense => &[(".kernel", ".weight", true), (".bias", ".bias", false)],
            Kind::Norm => &[(".gamma", ".weight", false), (".beta", ".bias", false)],
            Kind::Table => &[("", ".weight", false)],
            Kind::Vector => &[("", "", false)],
        }
    }
}

/// What a family calls the entries of `config.json`.
#[derive(Debug)]
pub(super) struct Keys {
    pub hidden_size: &'static str,
    pub num_layers: &'static str,
    pub num_heads: &'static str,
    pub intermediate_size: &'static str,
    pub activation: &'static str,
    pub dropout: &'static str,
    pub attention_dropout: &'static str,
    pub classifier_dropout: &'static str,
}

use Size::*;

const fn dense(ours: &'static str, theirs: &'static str, sizes: &'static [Size]) -> Part {
    Part { kind: Kind::Dense, ours, theirs, sizes }
}
const fn norm(ours: &'static str, theirs: &'static str, sizes: &'static [Size]) -> Part {
    Part { kind: Kind::Norm, ours, theirs, sizes }
}
const fn table(ours: &'static str, theirs: &'static str, sizes: &'static [Size]) -> Part {
    Part { kind: Kind::Table, ours, theirs, sizes }
}
const fn vector(ours: &'static str, theirs: &'static str, sizes: &'static [Size]) -> Part {
    Part { kind: Kind::Vector, ours, theirs, sizes }
}

const BERT_PARTS: &[Part] = &[
    table("embeddings.word", "embeddings.word_embeddings", &[Vocab, Embedding]),
    table("embeddings.position", "embeddings.position_embeddings", &[Positions, Embedding]),
    table("embeddings.type", "embeddings.token_type_embeddings", &[Types, Embedding]),
    norm("embeddings.norm", "embeddings.LayerNorm", &[Embedding]),
    dense("embeddings.projection", "embeddings_project", &[Embedding, Hidden]),
    dense("layer_{}.attention.query", "encoder.layer.{}.attention.self.query", &[Hidden, Hidden]),
    dense("layer_{}.attention.key", "encoder.layer.{}.attention.self.key", &[Hidden, Hidden]),
    dense("layer_{}.attention.value", "encoder.layer.{}.attention.self.value", &[Hidden, Hidden]),
    dense("layer_{}.attention.output", "encoder.layer.{}.attention.output.dense", &[Hidden, Hidden]),
    norm("layer_{}.attention.norm", "encoder.layer.{}.attention.output.LayerNorm", &[Hidden]),
    dense("layer_{}.feed_forward.inner", "encoder.layer.{}.intermediate.dense", &[Hidden, Inner]),
    dense("layer_{}.feed_forward.outer", "encoder.layer.{}.output.dense", &[Inner, Hidden]),
    norm("layer_{}.norm", "encoder.layer.{}.output.LayerNorm", &[Hidden]),
];

const BERT_KEYS: Keys = Keys {
    hidden_size: "hidden_size",
    num_layers: "num_hidden_layers",
    num_heads: "num_attention_heads",
    intermediate_size: "intermediate_size",
    activation: "hidden_act",
    dropout: "hidden_dropout_prob",
    attention_dropout: "attention_probs_dropout_prob",
    classifier_dropout: "classifier_dropout",
};

const BERT: Names = Names {
    model_type: "bert",
    class: "Bert",
    prefix: "bert.",
    encoder: BERT_PARTS,
    pooler: Some(dense("pooler", "pooler.dense", &[Hidden, Hidden])),
    classification: &[dense("classifier", "classifier", &[Hidden, Outputs])],
    tags: &[dense("classifier", "classifier", &[Hidden, Outputs])],
    masked: &[
        dense("mlm.dense", "cls.predictions.transform.dense", &[Hidden, Embedding]),
        norm("mlm.norm", "cls.predictions.transform.LayerNorm", &[Embedding]),
        vector("mlm.bias", "cls.predictions.bias", &[Vocab]),
    ],
    decoder: ["cls.predictions.decoder.weight", "cls.predictions.decoder.bias"],
    pad_token_id: 0,
    positions_after_padding: false,
    keys: &BERT_KEYS,
};

const ROBERTA: Names = Names {
    model_type: "roberta",
    class: "Roberta",
    prefix: "roberta.",
    classification: &[
        dense("pooler", "classifier.dense", &[Hidden, Hidden]),
        dense("classifier", "classifier.out_proj", &[Hidden, Outputs]),
    ],
    masked: &[
        dense("mlm.dense", "lm_head.dense", &[Hidden, Embedding]),
        norm("mlm.norm", "lm_head.layer_norm", &[Embedding]),
        vector("mlm.bias", "lm_head.bias", &[Vocab]),
    ],
    decoder: ["lm_head.decoder.weight", "lm_head.decoder.bias"],
    pad_token_id: 1,
    positions_after_padding: true,
    ..BERT
};

const XLM_ROBERTA: Names = Names { model_type: "xlm-roberta", class: "XLMRoberta", ..ROBERTA };

const CAMEMBERT: Names = Names { model_type: "camembert", class: "Camembert", ..ROBERTA };

const ELECTRA: Names = Names {
    model_type: "electra",
    class: "Electra",
    prefix: "electra.",
    pooler: None,
    classification: &[
        dense("pooler", "classifier.dense", &[Hidden, Hidden]),
        dense("classifier", "classifier.out_proj", &[Hidden, Outputs]),
    ],
    masked: &[
        dense("mlm.dense", "generator_predictions.dense", &[Hidden, Embedding]),
        norm("mlm.norm", "generator_predictions.LayerNorm", &[Embedding]),
        vector("mlm.bias", "generator_lm_head.bias", &[Vocab]),
    ],
    decoder: ["generator_lm_head.weight", "generator_predictions.bias"],
    ..BERT
};

const DISTILBERT: Names = Names {
    model_type: "distilbert",
    class: "DistilBert",
    prefix: "distilbert.",
    encoder: &[
        table("embeddings.word", "embeddings.word_embeddings", &[Vocab, Embedding]),
        table("embeddings.position", "embeddings.position_embeddings", &[Positions, Embedding]),
        norm("embeddings.norm", "embeddings.LayerNorm", &[Embedding]),
        dense("layer_{}.attention.query", "transformer.layer.{}.attention.q_lin", &[Hidden, Hidden]),
        dense("layer_{}.attention.key", "transformer.layer.{}.attention.k_lin", &[Hidden, Hidden]),
        dense("layer_{}.attention.value", "transformer.layer.{}.attention.v_lin", &[Hidden, Hidden]),
        dense("layer_{}.attention.output", "transformer.layer.{}.attention.out_lin", &[Hidden, Hidden]),
        norm("layer_{}.attention.norm", "transformer.layer.{}.sa_layer_norm", &[Hidden]),
        dense("layer_{}.feed_forward.inner", "transformer.layer.{}.ffn.lin1", &[Hidden, Inner]),
        dense("layer_{}.feed_forward.outer", "transformer.layer.{}.ffn.lin2", &[Inner, Hidden]),
        norm("layer_{}.norm", "transformer.layer.{}.output_layer_norm", &[Hidden]),
    ],
    pooler: None,
    classification: &[
        dense("pooler", "pre_classifier", &[Hidden, Hidden]),
        dense("classifier", "classifier", &[Hidden, Outputs]),
    ],
    masked: &[
        dense("mlm.dense", "vocab_transform", &[Hidden, Embedding]),
        norm("mlm.norm", "vocab_layer_norm", &[Embedding]),
        vector("mlm.bias", "vocab_projector.bias", &[Vocab]),
    ],
    decoder: ["vocab_projector.weight", ""],
    keys: &Keys {
        hidden_size: "dim",
        num_layers: "n_layers",
        num_heads: "n_heads",
        intermediate_size: "hidden_dim",
        activation: "activation",
        dropout: "dropout",
        attention_dropout: "attention_dropout",
        classifier_dropout: "seq_classif_dropout",
    },
    ..BERT
};

/// Heads that Brisk knows of but does not use, by how the names of their tensors begin.
pub(super) const OTHER_HEADS: &[(&str, &str)] = &[
    ("cls.seq_relationship.", "the head for the next sentence is not used"),
    ("qa_outputs.", "the head for finding answers is not used"),
    ("discriminator_predictions.", "the head for replaced tokens is not used"),
    ("sequence_summary.", "the head for choices is not used"),
];

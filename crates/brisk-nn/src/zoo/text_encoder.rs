//! Encoders of BERT's kind, and classifiers on them.

use crate::config::unknown;
use crate::prelude::*;
use crate::{Error, Model, ModelInput, Result, SequencePooling, TextEncoder};

/// Name, hidden size, layers, heads, inner size, longest text.
const ENCODERS: [(&str, [usize; 5]); 3] = [
    ("transformer-encoder", [128, 2, 4, 512, 512]),
    ("minilm", [384, 6, 12, 1536, 512]),
    ("bert-base", [768, 12, 12, 3072, 512]),
];

/// Whether a preset is an encoder for texts.
///
/// ```
/// assert!(brisk_nn::zoo::is_text_encoder("minilm") && !brisk_nn::zoo::is_text_encoder("lenet"));
/// ```
pub fn is_text_encoder(preset: &str) -> bool {
    ENCODERS.iter().any(|e| e.0 == preset)
}

/// An encoder of BERT's kind (Devlin and others, 2018) for so many tokens: `transformer-encoder` (2 layers of 128),
/// `minilm` (6 of 384; Wang and others, 2020) or `bert-base` (12 of 768).
///
/// ```
/// let encoder = brisk_nn::zoo::text_encoder("bert-base", 30_522)?;
/// assert_eq!((encoder.num_layers, encoder.hidden_size), (12, 768));
/// # Ok::<(), brisk_nn::Error>(())
/// ```
pub fn text_encoder(preset: &str, vocab_size: usize) -> Result<TextEncoder> {
    let names: Vec<&str> = ENCODERS.iter().map(|e| e.0).collect();
    let found = ENCODERS.iter().find(|e| e.0 == preset);
    let Some((_, [hidden_size, num_layers, num_heads, intermediate_size, max_positions])) = found else {
        return Err(Error::layer("model", unknown("encoder", preset, &names)));
    };
    Ok(TextEncoder {
        vocab_size,
        hidden_size: *hidden_size,
        num_layers: *num_layers,
        num_heads: *num_heads,
        intermediate_size: *intermediate_size,
        max_positions: *max_positions,
        type_vocab_size: 2,
        ..TextEncoder::default()
    })
}

/// A preset's encoder of 30,522 tokens, the first token's vector, a dense layer with tanh, dropout, and classes: BERT's
/// classifier, over the packed text `text`.
///
/// ```
/// let model = brisk_nn::zoo::text_classifier("minilm", 2)?;
/// assert!(model.summary()?.contains("Total params: 22,713,986"), "{}", model.summary()?);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
pub fn text_classifier(preset: &str, classes: usize) -> Result<Model> {
    let encoder = text_encoder(preset, 30_522)?;
    let hidden = encoder.hidden_size;
    let layers = vec![
        LayerSpec::new(encoder).inputs(["text"]),
        LayerSpec::new(SequencePooling::default()).inputs(["encoder", "text.segments"]),
        LayerSpec::new(Dense::new(hidden).activation(Tanh)).name("pooler"),
        Dropout::new(0.1).into(),
        LayerSpec::new(Dense::new(classes)).name("classifier"),
    ];
    Model::new(ModelInput::packed_text("text"), layers, &[])
}

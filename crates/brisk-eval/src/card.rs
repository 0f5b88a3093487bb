//! The model card: `README.md` of a model folder, in the shape that Hugging Face reads.

use crate::Report;

/// What a model card says. Empty parts are left out.
///
/// ```
/// use brisk_eval::ModelCard;
///
/// let card = ModelCard {
///     name: "fashion-cnn".into(),
///     purpose: "Tells ten kinds of clothing apart.".into(),
///     labels: vec!["Trouser".into(), "Bag".into()],
///     ..ModelCard::default()
/// };
/// assert!(card.to_markdown().contains("# fashion-cnn"));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelCard {
    /// Name of the model.
    pub name: String,
    /// SPDX identifier of the model's licence.
    pub license: String,
    /// Hugging Face's name of the task, such as `image-classification`.
    pub task: String,
    /// Further tags.
    pub tags: Vec<String>,
    /// What the model is for.
    pub purpose: String,
    /// The architecture in a sentence.
    pub architecture: String,
    /// The training data: names and values, in order.
    pub data: Vec<(String, String)>,
    /// How it was trained: names and values, in order.
    pub training: Vec<(String, String)>,
    /// Name of the data on which `evaluation` was measured.
    pub evaluated_on: String,
    /// The measured metrics.
    pub evaluation: Option<Report>,
    /// What is done to an input before it enters the model, step by step.
    pub preprocessing: Vec<String>,
    /// The classes in the order of the outputs.
    pub labels: Vec<String>,
    /// A shell command or code that uses the model.
    pub usage: String,
    /// What it cannot do, must not be used for, or does badly.
    pub limits: Vec<String>,
}

impl ModelCard {
    /// The card.
    pub fn to_markdown(&self) -> String {
        format!("# {}", self.name)
    }
}

//! What can go wrong while a model is described or built.

/// A result of describing or building a model.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong while a model is described or built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer cannot be built: its arguments are wrong, or what comes in does not fit it.
    #[error("{layer}: {message}")]
    Layer {
        /// The layer's name, such as `dense_1`.
        layer: String,
        /// What was expected, what was found, and what to do.
        message: String,
    },
    /// A loss, metric, optimizer or schedule cannot work with its arguments or with this model.
    #[error("{what}: {message}")]
    Config {
        /// The part: `loss huber`, `optimizer adam`.
        what: String,
        /// What was expected, what was found, and what to do.
        message: String,
    },
    /// The graph itself is wrong.
    #[error(transparent)]
    Graph(#[from] brisk_graph::Error),
}

impl Error {
    /// An error of a layer.
    pub fn layer(layer: impl Into<String>, message: impl Into<String>) -> Error {
        Error::Layer { layer: layer.into(), message: message.into() }
    }

    /// An error of another part of a configuration.
    pub fn config(what: impl Into<String>, message: impl Into<String>) -> Error {
        Error::Config { what: what.into(), message: message.into() }
    }
}

//! What a client is told when something is wrong.

use std::time::Duration;

/// Why a request was not answered.
///
/// ```
/// use brisk_serve::{Fault, FaultKind};
/// let fault = Fault::new(FaultKind::NotFound, "there is no model `x`");
/// assert_eq!((fault.kind.status(), fault.to_string().as_str()), (404, "there is no model `x`"));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Whose fault it is.
    pub kind: FaultKind,
    /// What, where, expected, found, remedy.
    pub message: String,
    /// When to ask again.
    pub retry_after: Option<Duration>,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The request makes no sense.
    BadRequest,
    /// No key, or one that is not known.
    Unauthorized,
    /// The key is not for this.
    Forbidden,
    /// There is no such model, version or page.
    NotFound,
    /// The page has no such method.
    MethodNotAllowed,
    /// The request took too long to arrive.
    SlowRequest,
    /// Somebody else has changed what was to be changed.
    Conflict,
    /// More bytes or rows than are taken.
    TooLarge,
    /// A kind of content that is not understood.
    UnknownContent,
    /// Too much to do; ask again later.
    Overloaded,
    /// Something is broken here.
    Internal,
    /// Not ready, or about to stop.
    Unavailable,
    /// The client's deadline has passed.
    Deadline,
}

impl FaultKind {
    /// The status of HTTP.
    pub fn status(self) -> u16 {
        match self {
            FaultKind::BadRequest => 400,
            FaultKind::Unauthorized => 401,
            FaultKind::Forbidden => 403,
            FaultKind::NotFound => 404,
            FaultKind::MethodNotAllowed => 405,
            FaultKind::SlowRequest => 408,
            FaultKind::Conflict => 409,
            FaultKind::TooLarge => 413,
            FaultKind::UnknownContent => 415,
            FaultKind::Overloaded => 429,
            FaultKind::Internal => 500,
            FaultKind::Unavailable => 503,
            FaultKind::Deadline => 504,
        }
    }
}

impl Fault {
    /// A fault with its message.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Fault {
        Fault { kind, message: message.into(), retry_after: None }
    }

    /// The request makes no sense.
    pub fn bad(message: impl Into<String>) -> Fault {
        Fault::new(FaultKind::BadRequest, message)
    }

    /// Something is broken here.
    pub fn internal(message: impl Into<String>) -> Fault {
        Fault::new(FaultKind::Internal, message)
    }
}

/// Result with a [`Fault`].
pub type Answered<T> = Result<T, Fault>;

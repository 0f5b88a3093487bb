//! How much room a model's values may take: a file of a few bytes must not ask for all memory.

use brisk_graph::Shape;

/// What every model may use: elements of one value.
const LEAST: usize = 1 << 28;
/// And what it may use beyond, for each element that comes in or was learned.
const TIMES: usize = 256;
/// So many of the largest values of f32 may be there at once.
const AT_ONCE: usize = 4;

/// How large values may become.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    elements: usize,
}

impl Room {
    /// For a model with so many elements in its inputs and parameters.
    pub fn of(given: usize) -> Room {
        Room { elements: given.saturating_mul(TIMES).max(LEAST) }
    }

    /// Whether a value may have such a shape, in which empty axes hide nothing.
    pub fn shape(self, shape: &Shape) -> Result<(), String> {
        self.elements(shape.iter().fold(1, |n, &d| n.saturating_mul(d.max(1))), shape)
    }

    /// Whether so many numbers may be made.
    pub fn numbers(self, count: usize) -> Result<(), String> {
        self.elements(count, &"a list")
    }

    /// Whether there may be such texts.
    pub fn texts(self, texts: &[String]) -> Result<(), String> {
        let bytes = texts.iter().map(|t| size_of::<String>() + t.len()).fold(0, usize::saturating_add);
        self.elements(bytes, &"texts")
    }

    fn elements(self, count: usize, what: &dyn std::fmt::Display) -> Result<(), String> {
        match count <= self.elements {
            true => Ok(()),
            false => Err(format!(
                "{what} of {count} elements, more than the {} that are in proportion to the model's inputs and \
                 parameters",
                self.elements
            )),
        }
    }

    /// Whether so many bytes may be used while a model runs.
    pub fn bytes(self, count: usize) -> Result<(), String> {
        let most = self.elements.saturating_mul(AT_ONCE * size_of::<f32>());
        match count <= most {
            true => Ok(()),
            false => Err(format!(
                "running it takes {count} bytes, more than the {most} that are in proportion to its inputs and parameters"
            )),
        }
    }
}

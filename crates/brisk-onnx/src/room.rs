//! How much room a model's values may take, and how much recording it: a file of a few bytes must not ask for all memory or time.

use std::cell::Cell;

use brisk_graph::Shape;

use crate::Item;

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
        let count = shape.iter().fold(1usize, |n, &d| n.saturating_mul(d.max(1)));
        match count <= self.elements {
            true => Ok(()),
            false => Err(format!(
                "{shape} of {count} elements, more than the {} that are in proportion to the model's inputs and \
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

/// How many steps recording may take, loops unrolled: each node, each name that it reads or makes, and each operation of the graph that
/// it becomes is one.
const MOST_STEPS: usize = 1 << 22;
/// What looking at a value costs of them, at least ...
const LOOK: usize = 1 << 10;
/// ... and for so many operations of the graph one more: all that was recorded is gone through.
const PER_STEP: usize = 16;

/// What is left for recording a model. Whatever takes time or memory in proportion to a number in a file is paid for here.
#[derive(Debug)]
pub struct Budget {
    room: Room,
    steps: Cell<usize>,
    /// Numbers, and bytes of texts, that are computed while the graph is made, and kept in it.
    numbers: Cell<usize>,
    /// How many operations the graph has, as far as is known from its values.
    recorded: Cell<usize>,
}

impl Budget {
    /// Of a model that has this room.
    pub fn new(room: Room) -> Budget {
        let [steps, numbers] = [MOST_STEPS, room.elements].map(Cell::new);
        Budget { room, steps, numbers, recorded: Cell::new(0) }
    }

    /// With little left.
    #[cfg(test)]
    pub fn of(steps: usize, numbers: usize) -> Budget {
        let budget = Budget::new(Room { elements: numbers });
        budget.steps.set(steps);
        budget
    }

    /// How large a value may become.
    pub fn room(&self) -> Room {
        self.room
    }

    /// Whether so many steps are left.
    pub fn afford(&self, steps: usize) -> Result<(), String> {
        match steps <= self.steps.get() {
            true => Ok(()),
            false => Err(format!(
                "with its loops and functions written out the model has more than {MOST_STEPS} operations"
            )),
        }
    }

    /// Takes so many steps.
    pub fn spend(&self, steps: usize) -> Result<(), String> {
        self.afford(steps)?;
        self.steps.set(self.steps.get() - steps);
        Ok(())
    }

    /// Takes what looking at a value costs.
    pub fn look(&self) -> Result<(), String> {
        self.spend(LOOK + self.recorded.get() / PER_STEP)
    }

    /// What was recorded up to some values is there already.
    pub fn begin(&self, items: &[Option<Item<'_>>]) {
        self.recorded.set(items.iter().flatten().map(end).max().unwrap_or(0));
    }

    /// Takes a step for each operation that was recorded since the last time, up to some values; gives their number.
    pub fn settle<'i, 'g: 'i>(&self, items: impl Iterator<Item = &'i Item<'g>>) -> Result<usize, String> {
        let (before, now) = (self.recorded.get(), items.map(end).max().unwrap_or(0));
        let new = now.saturating_sub(before);
        self.recorded.set(before.max(now));
        self.spend(new)?;
        Ok(new)
    }

    /// How many operations the graph has.
    pub fn recorded(&self) -> usize {
        self.recorded.get()
    }

    /// Whether there is room for so many numbers, before they are computed.
    pub fn room_for(&self, numbers: usize) -> Result<(), String> {
        let left = self.numbers.get();
        match numbers <= left {
            true => Ok(()),
            false => Err(format!(
                "a list of {numbers} elements, more than the {left} that are left of the {} in proportion to the \
                 model's inputs and parameters",
                self.room.elements
            )),
        }
    }

    /// Whether there is room for so many texts with so many bytes.
    pub fn room_for_texts(&self, count: usize, bytes: usize) -> Result<(), String> {
        let (size, left) = (text_size(count, bytes), self.numbers.get());
        match size <= left {
            true => Ok(()),
            false => Err(format!("texts may have {left} bytes in all, these could have {size}")),
        }
    }

    /// Takes room for so many numbers.
    pub fn take(&self, numbers: usize) -> Result<(), String> {
        self.room_for(numbers)?;
        self.numbers.set(self.numbers.get() - numbers);
        Ok(())
    }

    /// Takes room for texts.
    pub fn take_texts(&self, texts: &[String]) -> Result<(), String> {
        let bytes = texts.iter().map(String::len).fold(0, usize::saturating_add);
        self.room_for_texts(texts.len(), bytes)?;
        self.take(text_size(texts.len(), bytes))
    }
}

fn text_size(count: usize, bytes: usize) -> usize {
    count.saturating_mul(size_of::<String>()).saturating_add(bytes)
}

/// How many operations there are up to a value; values are numbered in the order in which they are recorded.
fn end(item: &Item<'_>) -> usize {
    match item {
        Item::Tensor(var) => var.raw().0.id().index() + 1,
        Item::Sequence(items) => items.last().map_or(0, end),
        Item::Texts(..) | Item::Nothing => 0,
    }
}

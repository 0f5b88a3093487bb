//! The machine that a pickle is a program for.

use std::collections::{BTreeSet, HashMap};

use super::build::Build;
use super::global::Global;
use super::source::{Parsed, Source, unsound};
use super::value::{Id, Value};
use super::{Pickle, global, text};
use crate::error::quoted;
use crate::tensors::Fault;

/// The newest protocol that is known.
const NEWEST: u8 = 5;
/// The longest name of a module, class or function.
const LONGEST_NAME: usize = 1 << 10;
/// The most names that are refused together.
const MOST_REFUSED: usize = 32;

struct Machine<'s, 'a> {
    source: &'s mut Source<'a>,
    build: Build,
    stack: Vec<Id>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Classes and functions that no file may use.
    refused: BTreeSet<String>,
    /// Where the first of them is.
    refused_at: u64,
}

/// Runs a pickle to its end. `at` is where the instruction begins that is run.
pub(super) fn run(source: &mut Source<'_>, at: &mut u64) -> Parsed<Pickle> {
    let build = Build::new(source.left());
    let (stack, marks, memo) = (Vec::new(), Vec::new(), HashMap::new());
    let refused = BTreeSet::new();
    let mut machine = Machine { source, build, stack, marks, memo, refused, refused_at: 0 };
    let root = machine.run(at);
    // What was refused comes first: what follows from it may be wrong.
    if !machine.refused.is_empty() {
        *at = machine.refused_at;
        return unsound(global::refusal(&machine.refused));
    }
    Ok(Pickle { root: root?, values: machine.build.values, storages: machine.build.storages })
}

impl Machine<'_, '_> {
    fn run(&mut self, at: &mut u64) -> Parsed<Id> {
        loop {
            *at = self.source.read();
            match self.source.byte()? {
                b'.' => return self.pop(),
                instruction => self.step(instruction)?,
            }
        }
    }

    fn step(&mut self, instruction: u8) -> Parsed<()> {
        match instruction {
            // What says how it is written, and nothing else.
            0x80 => self.protocol(),
            0x95 => self.source.array::<8>().map(|_| ()),
            // The stack and the memo.
            b'(' => {
                self.build.values.charge(1)?;
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(|_| ()),
            b'1' => self.pop_mark().map(|_| ()),
            b'2' => self.top().and_then(|top| self.push_again(top)),
            b'p' | b'q' | b'r' => {
                let slot = self.slot(instruction)?;
                self.memorize(slot)
            }
            0x94 => self.memorize(self.memo.len() as u32),
            b'g' | b'h' | b'j' => {
                let slot = self.slot(instruction)?;
                match self.memo.get(&slot) {
                    Some(&id) => self.push_again(id),
                    None => unsound(format!("it refers to value {slot}, which it has not built yet")),
                }
            }
            // Plain values.
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'J' => self.int(|s| s.array().map(|b| i32::from_le_bytes(b).into())),
            b'K' => self.int(|s| s.byte().map(Into::into)),
            b'M' => self.int(|s| s.array().map(|b| u16::from_le_bytes(b).into())),
            b'I' | b'L' => self.decimal(),
            0x8a => {
                let length = self.source.byte()?.into();
                self.long(length)
            }
            0x8b => {
                let length = u32::from_le_bytes(self.source.array()?).into();
                self.long(length)
            }
            b'G' => {
                let value = f64::from_be_bytes(self.source.array()?);
                self.push(Value::Float(value))
            }
            b'F' => {
                let line = self.text_line()?;
                match line.parse() {
                    Ok(value) => self.push(Value::Float(value)),
                    Err(_) => unsound(format!("expected a number, found {}", quoted(&line))),
                }
            }
            b'S' => {
                let line = self.source.line()?;
                self.push(text::quoted(&line)?)
            }
            b'V' => {
                let line = self.source.line()?;
                self.push(text::escaped(&line)?)
            }
            b'U' | 0x8c | b'X' | b'T' | 0x8d => self.counted_text(instruction),
            b'C' | b'B' | 0x8e | 0x96 => {
                let length = self.length(instruction)?;
                let bytes = self.source.vec(length)?;
                self.push(Value::Bytes(bytes.into()))
            }
            // Containers.
            b']' => self.push(Value::List(Vec::new())),
            b')' => self.push(Value::Tuple(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            0x8f => self.push(Value::Set(Vec::new())),
            b'l' => self.pop_mark().and_then(|items| self.push(Value::List(items))),
            b't' => self.pop_mark().and_then(|items| self.push(Value::Tuple(items))),
            0x91 => self.pop_mark().and_then(|items| self.push(Value::Set(items))),
            b'd' => {
                let pairs = pairs(&self.pop_mark()?)?;
                self.push(Value::Dict(pairs))
            }
            0x85..=0x87 => {
                let items = self.pop_last(usize::from(instruction - 0x84))?;
                self.push(Value::Tuple(items))
            }
            b'a' => self.pop_last(1).and_then(|items| self.append(items)),
            b'e' | 0x90 => self.pop_mark().and_then(|items| self.append(items)),
            b's' => self.pop_last(2).and_then(|items| self.set_items(&items)),
            b'u' => self.pop_mark().and_then(|items| self.set_items(&items)),
            // What is outside of the pickle.
            b'c' => {
                let (module, name) = (self.text_line()?, self.text_line()?);
                self.global(&module, &name)
            }
            0x93 => {
                let names = self.pop_last(2)?;
                let text = |i: usize| {
                    let text = names.get(i).and_then(|&id| self.build.values.text(id));
                    text.filter(|text| text.len() <= LONGEST_NAME).map(String::from)
                };
                match (text(0), text(1)) {
                    (Some(module), Some(name)) => self.global(&module, &name),
                    _ => unsound("it names a class by something that is no name; save the file again"),
                }
            }
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                self.call(arguments)
            }
            0x92 => {
                let (_, arguments) = (self.pop()?, self.pop()?);
                self.call(arguments)
            }
            b'i' => {
                let (module, name) = (self.text_line()?, self.text_line()?);
                let arguments = self.pop_mark()?;
                self.global(&module, &name)?;
                let arguments = self.build.values.add(Value::Tuple(arguments))?;
                self.call(arguments)
            }
            b'o' => {
                let mut items = self.pop_mark()?;
                if items.is_empty() {
                    return unsound("it makes an object of nothing; save the file again");
                }
                let arguments = items.split_off(1);
                self.stack.append(&mut items);
                let arguments = self.build.values.add(Value::Tuple(arguments))?;
                self.call(arguments)
            }
            b'b' => {
                let (state, value) = (self.pop()?, self.top()?);
                self.build.set_state(value, state)
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.build.storage(id)?;
                self.stack.push(storage);
                Ok(())
            }
            b'P' => unsound(
                "its tensors are written with pickle protocol 0, which PyTorch cannot read either; save it again with protocol 2",
            ),
            0x82..=0x84 | 0x97 | 0x98 => unsound(format!(
                "instruction {instruction:#04x} refers to something outside of the file; save it again with torch.save"
            )),
            other => {
                unsound(format!("there is no instruction {other:#04x}; download it again, or save it again"))
            }
        }
    }

    fn protocol(&mut self) -> Parsed<()> {
        match self.source.byte()? {
            0..=NEWEST => Ok(()),
            found => unsound(format!("expected a pickle of protocol 0 to {NEWEST}, found {found}")),
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Parsed<()> {
        if module.len() + name.len() > LONGEST_NAME {
            return unsound("the name of a class is too long to be one; save the file again");
        }
        let global = global::find(module, name).map_err(Fault::Unsound)?;
        if global == Global::Refused {
            if self.refused.is_empty() {
                self.refused_at = self.source.read();
            }
            self.refused.insert(format!("{module}.{name}"));
            if self.refused.len() == MOST_REFUSED {
                return unsound("it wants to call too much");
            }
        }
        self.push(Value::Global(global))
    }

    /// Puts in the place of a class or function what it gives.
    fn call(&mut self, arguments: Id) -> Parsed<()> {
        let callee = self.pop()?;
        let result = self.build.call(callee, arguments)?;
        self.stack.push(result);
        Ok(())
    }

    fn push(&mut self, value: Value) -> Parsed<()> {
        let id = self.build.values.add(value)?;
        self.stack.push(id);
        Ok(())
    }

    fn push_again(&mut self, id: Id) -> Parsed<()> {
        self.build.values.charge(1)?;
        self.stack.push(id);
        Ok(())
    }

    /// The last value, which is not one of before the last mark.
    fn pop(&mut self) -> Parsed<Id> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn top(&self) -> Parsed<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.get(floor..).and_then(<[Id]>::last) {
            Some(&id) => Ok(id),
            None => unsound("it needs a value that it has not built; download it again, or save it again"),
        }
    }

    fn pop_last(&mut self, count: usize) -> Parsed<Vec<Id>> {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        Ok(items)
    }

    /// All values since the last mark.
    fn pop_mark(&mut self) -> Parsed<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark.min(self.stack.len()))),
            None => unsound("it ends a list that it has not begun; download it again, or save it again"),
        }
    }

    fn memorize(&mut self, slot: u32) -> Parsed<()> {
        let top = self.top()?;
        self.build.values.charge(1)?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn slot(&mut self, instruction: u8) -> Parsed<u32> {
        match instruction {
            b'q' | b'h' => self.source.byte().map(Into::into),
            b'r' | b'j' => self.source.array().map(u32::from_le_bytes),
            _ => {
                let line = self.text_line()?;
                line.parse()
                    .or_else(|_| unsound(format!("expected the number of a value, found {}", quoted(&line))))
            }
        }
    }

    fn append(&mut self, items: Vec<Id>) -> Parsed<()> {
        let list = self.top()?;
        match self.build.values.get_mut(list)? {
            Value::List(own) | Value::Set(own) => {
                own.extend(items);
                Ok(())
            }
            Value::Global(Global::Refused) => Ok(()),
            _ => unsound("it appends to something that is no list; save the file again"),
        }
    }

    fn set_items(&mut self, items: &[Id]) -> Parsed<()> {
        let (pairs, dict) = (pairs(items)?, self.top()?);
        match self.build.values.get_mut(dict)? {
            Value::Dict(own) => {
                own.extend(pairs);
                Ok(())
            }
            Value::Global(Global::Refused) => Ok(()),
            _ => unsound("it sets entries of something that is no dictionary; save the file again"),
        }
    }

    fn int(&mut self, read: impl FnOnce(&mut Source<'_>) -> Parsed<i128>) -> Parsed<()> {
        let value = read(self.source)?;
        self.push(Value::Int(value))
    }

    /// A whole number of so many bytes, the smallest first.
    fn long(&mut self, length: u64) -> Parsed<()> {
        if length > 16 {
            return unsound(format!("a whole number of {length} bytes; Brisk reads those of up to 16"));
        }
        let bytes = self.source.vec(length)?;
        let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
        let mut all = [if negative { 0xff } else { 0 }; 16];
        all.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        self.push(Value::Int(i128::from_le_bytes(all)))
    }

    fn decimal(&mut self) -> Parsed<()> {
        let line = self.text_line()?;
        match (&line[..], line.trim_end_matches('L').parse()) {
            ("00", _) => self.push(Value::Bool(false)),
            ("01", _) => self.push(Value::Bool(true)),
            (_, Ok(value)) => self.push(Value::Int(value)),
            _ => unsound(format!("expected a whole number, found {}", quoted(&line))),
        }
    }

    fn text_line(&mut self) -> Parsed<String> {
        let line = self.source.line()?;
        String::from_utf8(line).or_else(|_| unsound("expected a line of text; save the file again"))
    }

    /// The length of what follows an instruction.
    fn length(&mut self, instruction: u8) -> Parsed<u64> {
        match instruction {
            b'U' | 0x8c | b'C' => self.source.byte().map(Into::into),
            b'X' | b'T' | b'B' => self.source.array().map(|b| u32::from_le_bytes(b).into()),
            _ => self.source.array().map(u64::from_le_bytes),
        }
    }

    fn counted_text(&mut self, instruction: u8) -> Parsed<()> {
        let length = self.length(instruction)?;
        let bytes = self.source.vec(length)?;
        match String::from_utf8(bytes) {
            Ok(text) => self.push(Value::Text(text.into())),
            // Python 2 had one type for texts and bytes.
            Err(error) if matches!(instruction, b'U' | b'T') => {
                self.push(Value::Bytes(error.into_bytes().into()))
            }
            Err(_) => unsound("a text that is no UTF-8; download it again, or save it again"),
        }
    }
}

/// Keys and values that follow each other.
fn pairs(items: &[Id]) -> Parsed<Vec<(Id, Id)>> {
    match items.as_chunks() {
        (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => unsound("a key without a value; download it again, or save it again"),
    }
}

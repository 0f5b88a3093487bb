//! What calls in a pickle give: containers and tensors, each made here, and nothing else.

use std::collections::HashMap;

use half::f16;

use super::super::element;
use super::global::Global;
use super::source::{Parsed, unsound};
use super::value::{Id, Storage, Value, Values, View};
use crate::budget::Budget;
use crate::elements::Element;

/// The most arguments of a call, and the longest name of a storage.
const MOST_ARGUMENTS: usize = 16;
const LONGEST_KEY: usize = 1 << 10;

/// The values and storages of a pickle while it is read.
pub(in crate::torch) struct Build {
    pub values: Values,
    pub storages: Vec<Storage>,
    keys: HashMap<String, u32>,
    /// The bytes of arrays that may be copied out of it.
    copies: Budget,
}

impl Build {
    /// For a file of so many bytes.
    pub fn new(length: u64) -> Build {
        let copies = Budget::new(length);
        Build { values: Values::new(length), storages: Vec::new(), keys: HashMap::new(), copies }
    }

    /// What a class or function gives for a tuple of arguments.
    pub fn call(&mut self, callee: Id, arguments: Id) -> Parsed<Id> {
        let &Value::Global(global) = self.values.get(callee) else {
            return unsound("it calls something that is no class or function; save the file again");
        };
        let given = match self.values.parts(arguments) {
            Some(given) if given.len() <= MOST_ARGUMENTS => given.to_vec(),
            _ => return unsound("a call without a tuple of some arguments; save the file again"),
        };
        let value = match (global, &given[..]) {
            // What it would make is as good as it.
            (Global::Refused, _) => return Ok(callee),
            (Global::Dict, []) | (Global::DefaultDict, [] | [_]) => Value::Dict(Vec::new()),
            (Global::Dict, &[pairs]) | (Global::DefaultDict, &[_, pairs]) => self.dict(pairs)?,
            (Global::List, []) => Value::List(Vec::new()),
            (Global::Tuple, []) => Value::Tuple(Vec::new()),
            (Global::Set, []) => Value::Set(Vec::new()),
            (Global::ByteArray, []) => Value::Bytes(Box::default()),
            // What is made of one container, or wraps one value, is that.
            (Global::List | Global::Tuple | Global::Set | Global::ByteArray, &[what]) => return Ok(what),
            (Global::Size | Global::ScriptList | Global::Device | Global::Parameter, &[what, ..]) => {
                return Ok(what);
            }
            (Global::Encode, &[text, ..]) => return self.encode(text),
            (Global::ByteArray, &[text, _]) => return self.encode(text),
            (Global::Script, []) => Value::Object(None),
            (Global::Script, _) => Value::Object(Some(arguments)),
            (Global::Tensor, &[storage, offset, shape, strides, ref more @ ..]) => {
                self.check_marks(more.get(2))?;
                self.tensor(storage, offset, shape, strides, None)?
            }
            (Global::TypedTensor, &[storage, offset, shape, strides, _, _, element, ref more @ ..]) => {
                self.check_marks(more.first())?;
                self.tensor(storage, offset, shape, strides, Some(element))?
            }
            // The function that it names is one of the two above, so this ends.
            (Global::Subclass, &[function, _, arguments, ..]) => match self.values.get(function) {
                Value::Global(Global::Tensor | Global::TypedTensor | Global::Parameter) => {
                    return self.call(function, arguments);
                }
                _ => return unsound("a tensor of a class of its own; save it as a plain tensor"),
            },
            (Global::NumpyType, &[code, ..]) => self.numpy_type(code)?,
            (Global::NumpyReconstruct, _) => Value::NumpyArray,
            (Global::NumpyScalar, &[element, bytes]) => self.numpy_scalar(element, bytes)?,
            (Global::NumpyFromBuffer, &[bytes, element, shape, order]) => {
                let fortran = self.values.text(order) == Some("F");
                self.numpy_array(shape, element, fortran, bytes)?
            }
            _ => {
                return unsound(format!(
                    "a call of {global:?} with {} arguments, which Brisk does not know; save the file again with PyTorch 1.6 or newer",
                    given.len()
                ));
            }
        };
        self.values.add(value)
    }

    /// Gives a value its state.
    pub fn set_state(&mut self, value: Id, state: Id) -> Parsed<()> {
        let next = match self.values.get(value) {
            Value::Object(None) => Value::Object(Some(state)),
            &Value::NumpyType(element, _) => {
                let order = self.values.parts(state).and_then(|s| s.get(1)).map(|&o| self.values.text(o));
                Value::NumpyType(element, order == Some(Some(">")))
            }
            Value::NumpyArray => match self.values.parts(state) {
                Some(&[_, shape, element, fortran, bytes]) => {
                    let fortran = matches!(self.values.get(fortran), Value::Bool(true));
                    self.numpy_array(shape, element, fortran, bytes)?
                }
                _ => return unsound("an array of NumPy without a content; save it as a tensor"),
            },
            // Attributes of containers and tensors, such as the versions of modules in a state dict.
            Value::Dict(_) | Value::List(_) | Value::Set(_) | Value::Tensor(_) => return Ok(()),
            Value::Global(Global::Refused) => return Ok(()),
            _ => return unsound("it changes something that cannot be changed; save the file again"),
        };
        *self.values.get_mut(value)? = next;
        Ok(())
    }

    /// What `('storage', class, key, place, elements)` stands for.
    pub fn storage(&mut self, id: Id) -> Parsed<Id> {
        let values = &self.values;
        let found = match values.parts(id) {
            Some(&[kind, class, key, _, elements, ref view @ ..]) if values.text(kind) == Some("storage") => {
                let element = match values.get(class) {
                    &Value::Global(Global::Storage(element)) => Some(element),
                    Value::Global(Global::UntypedStorage) => Some(Element::U8),
                    _ => None,
                };
                let offset = view.first().and_then(|&view| values.parts(view)).and_then(|view| view.get(1));
                let offset = offset.map_or(Some(0), |&offset| values.size(offset));
                let key = values.text(key).filter(|key| key.len() <= LONGEST_KEY);
                element.zip(key).zip(values.size(elements)).zip(offset)
            }
            _ => None,
        };
        let Some((((element, key), elements), offset)) = found else {
            return unsound(
                "it refers to something outside that is no storage of tensors; save the file again",
            );
        };
        let Some(bytes) = (elements as u64).checked_mul(element.size() as u64) else {
            return unsound(format!("its storage {key:?} would have {elements} elements"));
        };
        let key = key.to_string();
        let number = match self.keys.get(&key) {
            Some(&number) => number,
            None => {
                let number = self.add_storage(Storage { key: key.clone(), bytes: 0, element, own: None })?;
                self.keys.insert(key, number);
                number
            }
        };
        if let Some(storage) = self.storages.get_mut(number as usize) {
            storage.bytes = storage.bytes.max(bytes);
        }
        self.values.add(Value::Storage(element, number, offset))
    }

    fn add_storage(&mut self, storage: Storage) -> Parsed<u32> {
        self.values.charge(4)?;
        self.storages.push(storage);
        Ok(self.storages.len() as u32 - 1)
    }

    /// An error if a tensor is marked as one whose numbers are others than those of its storage.
    fn check_marks(&self, marks: Option<&Id>) -> Parsed<()> {
        let marks = match marks.map(|&marks| self.values.get(marks)) {
            Some(Value::Dict(marks)) => &marks[..],
            _ => &[],
        };
        let is_true = |&&(_, value): &&(Id, Id)| matches!(self.values.get(value), Value::Bool(true));
        let mut names = marks.iter().filter(is_true).filter_map(|&(key, _)| self.values.text(key));
        match names.find(|name| ["neg", "conj"].contains(name)) {
            Some(mark) => unsound(format!(
                "a tensor is marked as {mark}, which is not followed; save what its resolve_{mark}() gives"
            )),
            None => Ok(()),
        }
    }

    /// A tensor that sees a storage in this way; its axes take memory.
    fn view(&mut self, view: View) -> Parsed<Value> {
        self.values.charge(view.shape.len())?;
        Ok(Value::Tensor(Box::new(view)))
    }

    fn tensor(
        &mut self,
        storage: Id,
        offset: Id,
        shape: Id,
        strides: Id,
        element: Option<Id>,
    ) -> Parsed<Value> {
        let values = &self.values;
        let (&Value::Storage(own, storage, start), Some(offset), Some(shape), Some(strides)) =
            (values.get(storage), values.size(offset), values.sizes(shape), values.sizes(strides))
        else {
            return unsound(
                "a tensor needs a storage, an offset, and sizes and strides of at most 64 axes, all of them whole numbers from 0; save \
                 the file again",
            );
        };
        let element = match element.map(|e| values.get(e)) {
            None => own,
            Some(Value::Global(Global::Type(element))) => *element,
            Some(_) => return unsound("a tensor needs an element type; save the file again"),
        };
        if shape.len() != strides.len() {
            return unsound(format!("a tensor has {} sizes and {} strides", shape.len(), strides.len()));
        }
        match offset.checked_add(start) {
            Some(offset) => self.view(View { storage, element, offset, shape, strides }),
            None => unsound(format!("a tensor begins at element {offset} of its storage")),
        }
    }

    /// A dictionary of pairs.
    fn dict(&mut self, pairs: Id) -> Parsed<Value> {
        let count = match self.values.get(pairs) {
            Value::Dict(pairs) => pairs.len(),
            Value::List(items) | Value::Tuple(items) => items.len(),
            _ => 0,
        };
        self.values.charge(count)?;
        let pairs = match self.values.get(pairs) {
            Value::Dict(pairs) => Some(pairs.clone()),
            Value::List(items) | Value::Tuple(items) => {
                let pair = |&item: &Id| match self.values.parts(item) {
                    Some(&[key, value]) => Some((key, value)),
                    _ => None,
                };
                items.iter().map(pair).collect()
            }
            _ => None,
        };
        match pairs {
            Some(pairs) => Ok(Value::Dict(pairs)),
            None => unsound("a dictionary is made of something that is no pairs; save the file again"),
        }
    }

    /// Turns a text in the place where it is into the bytes that its characters stand for.
    fn encode(&mut self, text: Id) -> Parsed<Id> {
        let bytes: Option<Box<[u8]>> = match self.values.get(text) {
            Value::Text(text) => text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect(),
            Value::Bytes(_) => return Ok(text),
            _ => None,
        };
        match bytes {
            Some(bytes) => {
                *self.values.get_mut(text)? = Value::Bytes(bytes);
                Ok(text)
            }
            None => unsound("bytes are written as a text that is none (latin1); save the file again"),
        }
    }

    fn numpy_type(&self, code: Id) -> Parsed<Value> {
        let code = match self.values.get(code) {
            Value::Text(code) => code,
            Value::Bytes(code) => str::from_utf8(code).unwrap_or_default(),
            _ => "",
        };
        match element::of_numpy(code) {
            Some(element) => Ok(Value::NumpyType(element, code.starts_with('>'))),
            None => {
                unsound(format!("an array of NumPy has elements of type {code:.20}; save it as a tensor"))
            }
        }
    }

    fn numpy_scalar(&self, element: Id, bytes: Id) -> Parsed<Value> {
        let (&Value::NumpyType(element, reversed), Value::Bytes(bytes)) =
            (self.values.get(element), self.values.get(bytes))
        else {
            return unsound("a number of NumPy without type and bytes; save it as a plain number");
        };
        if bytes.len() != element.size() {
            return unsound(format!("a number of NumPy, {}, has {} bytes", element.name(), bytes.len()));
        }
        let mut own = [0; 8];
        let used = own.iter_mut().zip(bytes.iter());
        used.for_each(|(to, &from)| *to = from);
        if reversed && let Some(used) = own.get_mut(..bytes.len()) {
            used.reverse();
        }
        let bits = u64::from_le_bytes(own);
        Ok(match element {
            Element::F64 => Value::Float(f64::from_bits(bits)),
            Element::F32 => Value::Float(f32::from_bits(bits as u32).into()),
            Element::F16 => Value::Float(f16::from_bits(bits as u16).into()),
            Element::I64 => Value::Int((bits as i64).into()),
            Element::I32 => Value::Int((bits as i32).into()),
            Element::I16 => Value::Int((bits as i16).into()),
            Element::I8 => Value::Int((bits as i8).into()),
            Element::Bool => Value::Bool(bits != 0),
            _ => Value::Int(bits.into()),
        })
    }

    fn numpy_array(&mut self, shape: Id, element: Id, fortran: bool, bytes: Id) -> Parsed<Value> {
        let (Some(shape), &Value::NumpyType(element, reversed), Value::Bytes(bytes)) =
            (self.values.sizes(shape), self.values.get(element), self.values.get(bytes))
        else {
            return unsound("an array of NumPy without sizes, type and bytes; save it as a tensor");
        };
        let length = bytes.len() as u64;
        if self.copies.take(bytes.len()).is_err() {
            return unsound("its arrays of NumPy are longer than the file");
        }
        let own = Some((bytes.clone(), reversed));
        let storage =
            self.add_storage(Storage { key: "an array of NumPy".into(), bytes: length, element, own })?;
        let view = match fortran {
            false => View::rows(storage, element, shape),
            true => {
                let mut view = View::rows(storage, element, shape.into_iter().rev().collect());
                view.shape.reverse();
                view.strides.reverse();
                view
            }
        };
        self.view(view)
    }
}

//! An ONNX file without the bytes of its tensors: those may be larger than memory should hold twice, so only their places are kept.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use prost::Message;
use prost::bytes::Bytes;

use super::proto::{GraphProto, ModelProto};

/// The bytes of tensors from this size on stay in the file.
const LARGE: u64 = 4 << 10;
const GRAPH: u64 = 7;
const INITIALIZER: u64 = 5;
const RAW_DATA: u64 = 9;

/// Where the elements of an initializer lie in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// The first byte.
    pub offset: u64,
    /// How many.
    pub length: u64,
}

/// The model without large tensors, and each initializer of its graph with the place of its elements, if they stayed behind.
pub struct Skeleton {
    pub model: ModelProto,
    /// Each a [`TensorProto`](super::proto::TensorProto).
    pub initializers: Vec<(Bytes, Option<Stretch>)>,
}

/// Why a file is not what it should be.
pub enum Fault {
    Io(io::Error),
    Wrong(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::Wrong("it ends in the middle of a message".into()),
            _ => Fault::Io(error),
        }
    }
}

impl From<prost::DecodeError> for Fault {
    fn from(error: prost::DecodeError) -> Fault {
        Fault::Wrong(error.to_string())
    }
}

/// Reads a file of a length.
pub fn skeleton(file: &mut File, length: u64) -> Result<Skeleton, Fault> {
    let mut wire = Wire { file: BufReader::with_capacity(64 << 10, file), at: 0 };
    let (mut outer, mut inner) = (Vec::new(), Vec::new());
    let mut initializers = Vec::new();
    while wire.at < length {
        let field = wire.field(length)?;
        match (field.number, field.body) {
            (GRAPH, Some(end)) => wire.graph(end, &mut inner, &mut initializers)?,
            _ => wire.copy(&field, &mut outer)?,
        }
    }
    let mut model = ModelProto::decode(Bytes::from(outer))?;
    model.graph = Some(GraphProto::decode(Bytes::from(inner))?);
    Ok(Skeleton { model, initializers })
}

struct Wire<R> {
    file: BufReader<R>,
    /// How many bytes have been read.
    at: u64,
}

/// A field of a message.
struct Field {
    number: u64,
    key: u64,
    /// Where its body ends, if it is bytes or a message.
    body: Option<u64>,
    /// The bytes of one of fixed length, or of a number.
    value: Vec<u8>,
}

impl<R: Read + Seek> Wire<R> {
    fn byte(&mut self) -> Result<u8, Fault> {
        let mut byte = [0];
        self.file.read_exact(&mut byte)?;
        self.at += 1;
        Ok(byte[0])
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Wrong("a number has more than 64 bits".into()))
    }

    /// The head of the next field of a message that ends somewhere.
    fn field(&mut self, end: u64) -> Result<Field, Fault> {
        let key = self.varint()?;
        let mut field = Field { number: key >> 3, key, body: None, value: Vec::new() };
        match key & 7 {
            0 => {
                let value = self.varint()?;
                prost::encoding::encode_varint(value, &mut field.value);
            }
            fixed @ (1 | 5) => {
                field.value = vec![0; if fixed == 1 { 8 } else { 4 }];
                self.file.read_exact(&mut field.value)?;
                self.at += field.value.len() as u64;
            }
            2 => {
                let length = self.varint()?;
                field.body = self.at.checked_add(length);
            }
            other => return Err(Fault::Wrong(format!("a field of wire type {other}"))),
        }
        match field.number > 0 && self.at <= end && field.body.unwrap_or(0) <= end {
            true => Ok(field),
            false => Err(Fault::Wrong("a field is longer than the message that it stands in".into())),
        }
    }

    /// Appends a field as it is.
    fn copy(&mut self, field: &Field, to: &mut Vec<u8>) -> Result<(), Fault> {
        prost::encoding::encode_varint(field.key, to);
        match field.body {
            None => to.extend_from_slice(&field.value),
            Some(end) => {
                let length = end - self.at;
                prost::encoding::encode_varint(length, to);
                // Memory grows with what is really there.
                let read = (&mut self.file).take(length).read_to_end(to)? as u64;
                self.at += read;
                if read < length {
                    return Err(Fault::Wrong("it ends in the middle of a message".into()));
                }
            }
        }
        Ok(())
    }

    fn graph(
        &mut self,
        end: u64,
        rest: &mut Vec<u8>,
        initializers: &mut Vec<(Bytes, Option<Stretch>)>,
    ) -> Result<(), Fault> {
        while self.at < end {
            let field = self.field(end)?;
            match (field.number, field.body) {
                (INITIALIZER, Some(end)) => initializers.push(self.tensor(end)?),
                _ => self.copy(&field, rest)?,
            }
        }
        Ok(())
    }

    fn tensor(&mut self, end: u64) -> Result<(Bytes, Option<Stretch>), Fault> {
        let (mut rest, mut stretch) = (Vec::new(), None);
        while self.at < end {
            let field = self.field(end)?;
            match (field.number, field.body) {
                (RAW_DATA, Some(end)) if end - self.at >= LARGE => {
                    let length = end - self.at;
                    stretch = Some(Stretch { offset: self.at, length });
                    self.file.seek_relative(i64::try_from(length).unwrap_or(i64::MAX))?;
                    self.at = end;
                }
                _ => self.copy(&field, &mut rest)?,
            }
        }
        Ok((rest.into(), stretch))
    }
}

/// Reads a stretch of a file, window by window.
pub fn read_stretch(file: &mut File, stretch: Stretch, mut f: impl FnMut(&[u8])) -> io::Result<()> {
    const WINDOW: usize = 1 << 20;
    file.seek(SeekFrom::Start(stretch.offset))?;
    let mut window = vec![0; WINDOW.min(usize::try_from(stretch.length).unwrap_or(WINDOW))];
    let mut left = stretch.length;
    while left > 0 {
        let n = window.len().min(usize::try_from(left).unwrap_or(window.len()));
        file.read_exact(&mut window[..n])?;
        f(&window[..n]);
        left -= n as u64;
    }
    Ok(())
}

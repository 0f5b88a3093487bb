//! Texts of protocol 0, which stand on lines of their own.

use super::source::{Parsed, unsound};
use super::value::Value;

/// A text of protocol 0, with `\uXXXX` for some characters and Latin-1 otherwise.
pub(super) fn escaped(line: &[u8]) -> Parsed<Value> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line.iter().map(|&b| char::from(b)).peekable();
    while let Some(c) = rest.next() {
        let digits = match rest.peek() {
            Some('u') if c == '\\' => 4,
            Some('U') if c == '\\' => 8,
            _ => {
                text.push(c);
                continue;
            }
        };
        let code: String = rest.by_ref().skip(1).take(digits).collect();
        match u32::from_str_radix(&code, 16).ok().and_then(char::from_u32) {
            Some(c) => text.push(c),
            None => return unsound(format!("there is no character {code:?}; save the file again")),
        }
    }
    Ok(Value::Text(text.into()))
}

/// A string of Python 2 as it stands in a program: `'layer\x31'`.
pub(super) fn quoted(line: &[u8]) -> Parsed<Value> {
    let inner = match line {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
        _ => return unsound("a string without quotes; save the file again"),
    };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.iter().copied();
    while let Some(b) = rest.next() {
        bytes.push(match b {
            b'\\' => match rest.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'x') => {
                    let code: String = rest.by_ref().take(2).map(char::from).collect();
                    u8::from_str_radix(&code, 16).or_else(|_| {
                        unsound(format!("there is no character {code:?}; save the file again"))
                    })?
                }
                Some(b) => b,
                None => return unsound("a string ends within a character; save the file again"),
            },
            b => b,
        });
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => Value::Text(text.into()),
        Err(error) => Value::Bytes(error.into_bytes().into()),
    })
}

//! The server through its ports, as clients meet it.

mod answers;
mod faults;
mod limits;
mod stop;
mod support;
mod versions;

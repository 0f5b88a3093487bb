//! Publishing, reading, moving and removing; at the same time, with full disks, damaged files and killed publishers.

mod alias;
mod damage;
mod full;
mod kill;
mod publish;
mod remove;
mod s3;
mod support;
mod together;

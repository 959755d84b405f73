//! Where a network is kept: whole files, one writer at a time, secrets that nobody else can read.

#![expect(clippy::disallowed_methods, reason = "files are what this layer is about")]

pub mod batch;
pub mod file_stamp;
pub mod files;
pub mod folder;
pub mod owned;

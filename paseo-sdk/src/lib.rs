//! The SDK of paseo, a daemon that supervises AI coding agents on your machine.
//!
//! A [`catalogue`] of operations is all there is to call; [`model`] and [`item`] are what they speak about. With the
//! feature `client` (on by default) `Client` has one typed method per operation. Without features this crate is
//! data: no runtime, no I/O.

pub mod catalogue;
pub mod error;
pub mod frame;
pub mod item;
pub mod model;
pub mod operation;

#[cfg(feature = "schedules")]
pub mod cadence;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "machines")]
pub mod machine;
#[cfg(feature = "providers")]
pub mod provider;

#[cfg(feature = "client")]
pub use client::Client;
pub use error::{ApiError, Code};

//! The page and the API: a shell over app, in two processes. One has the rights to the network and never sees HTTP; the other
//! speaks HTTP and has no rights. What the second may ask of the first is [`procedure::Procedure`], and nothing else.
//!
//! What is served is in one table, [`routes::ROUTES`]: dispatch, who may, limits, and the description of the API are made of it.

pub mod agent;
pub mod database;
pub mod edits;
pub mod pages;
mod password;
pub mod procedure;
pub mod routes;
mod secret;
pub mod show;
mod totp;
pub mod view;

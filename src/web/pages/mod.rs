//! The HTML, as pure functions from view models: they read nothing and change nothing. Every change is a form, and every form
//! works without script. Names of nodes, of Docker's networks and texts of errors are strangers': maud escapes them.

mod account;
pub mod assets;
mod changes;
mod devices;
mod doctor;
mod enroll;
mod file;
mod form;
mod history;
mod layout;
mod login;
mod matrix;
mod node;
mod node_form;
mod nodes;
mod notifications;
mod overview;
mod people;
mod picture;
mod plan;
mod review;
mod rules;
mod table;
pub mod text;
mod trace;

pub use account::{AccountView, account};
pub use changes::{changes, diff};
pub use devices::devices;
pub use doctor::doctor;
pub use enroll::{Enrolled, enroll, enrolled, links};
pub use file::file;
pub use history::node_history;
pub use layout::refused;
pub use login::{LoginView, first_admin, login, signed_in, signed_out};
pub use matrix::matrix;
pub use node::{NodeFile, node, node_file, node_live};
pub use node_form::{add_form, edit_form};
pub use nodes::{NodesQuery, nodes};
pub use notifications::notifications;
pub use overview::{live, overview};
pub use people::{audit, people};
pub use plan::plan;
pub use review::review;
pub use rules::rules;
pub use trace::trace;

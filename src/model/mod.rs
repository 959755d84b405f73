//! What a network is: nodes, sites, keys, names, policy, and what can be wrong with one.
//!
//! Pure: no file, socket, clock or randomness. Values that break a rule of one field cannot be built;
//! rules between fields are in [`validate`].

mod alias;
mod allocate;
mod allowed_ips;
mod attachment;
mod derivation;
mod endpoint;
mod forward;
pub mod is_private;
mod key;
mod masked;
mod name;
mod narrowed;
mod network;
mod nodes;
mod peering;
mod policy;
mod prefixes;
mod problem;
mod punycode;
mod shell;
mod standby;
mod suggest;
mod timestamp;
pub mod validate;
pub(crate) mod via;

pub use alias::{carried_over, net_carried_over};
pub use allocate::{Exhausted, next_address, next_address6};
pub use allowed_ips::{
    FULL_TUNNEL, claimed_by_spoke, conf_mark, derive_for_spoke, has_own_table, is_full_tunnel,
    outside_of_full, places, prefixes_of, reachable_sites, without,
};
pub use attachment::{Attachment, Attachments};
pub use derivation::Derivation;
pub use endpoint::{DEFAULT_PORT, Endpoint, EndpointError, EndpointHost};
pub use forward::{Destination, DestinationError, Forward, ForwardSource, Target};
pub use key::{KEY_LEN, KeyError, PresharedKey, PrivateKey, PublicKey, SigningKey};
pub use masked::{could_be_key, masked, masked_to_pieces, shown};
pub use name::{InterfaceName, NameError, NodeName};
pub use network::{
    Bridge, DEFAULT_KEEPALIVE, DEFAULT_MTU, Nat, Network, Node, Platform, Role, Routes, Site, SiteInterface,
};
pub use nodes::Nodes;
pub use policy::{AllowRule, Expectation, PlaceRef, PortRange, PortSpec, Verdict};
pub use prefixes::PrefixMap;
pub use problem::{Problem, Severity};
pub use punycode::ascii_domain;
pub use shell::quoted;
pub use standby::{GivenOver, Standby};
pub use suggest::nearest;
pub use timestamp::Timestamp;
pub use via::everything;

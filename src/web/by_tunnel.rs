//! Who comes through the tunnel is known by his key: WireGuard takes an address from one peer alone, so that whoever calls this host's
//! tunnel address from a node's is that node. Where that is switched on he may look, without signing in, and nothing else.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Web;
use super::answer::Asked;
use super::clock::is_within;
use super::database::{BY_TUNNEL, Entry};
use super::procedure::{Procedure, Refused};
use super::view::Shown;
use crate::status::{Health, State, Status};

/// Seconds for which a node that looks is not written down again.
const NOTED: u64 = 86_400;

/// Who may look so.
#[derive(Debug, Default)]
pub struct Viewers {
    /// Nodes, groups with `@` before them, or `*`; none: nobody.
    may: Vec<String>,
    /// When each was written down.
    noted: std::sync::Mutex<BTreeMap<String, u64>>,
}

impl Viewers {
    /// Lets these look.
    ///
    /// # Errors
    /// One is no name.
    pub fn read(may: &[String]) -> Result<Self, Refused> {
        for one in may {
            let name = one.strip_prefix('@').unwrap_or(one);
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            if one != "*" && (name.is_empty() || !name.bytes().all(is_plain)) {
                let hint = "a node, @GROUP, or * for every node";
                return Err(Refused::new(400, format!("--tunnel-viewer {one:?}: this is nobody"), hint));
            }
        }
        Ok(Self { may: may.to_vec(), ..Self::default() })
    }

    fn has(&self, node: &str, groups: &[String]) -> bool {
        self.may.iter().any(|one| match one.strip_prefix('@') {
            Some(group) => groups.iter().any(|own| own == group),
            None => one == "*" || one == node,
        })
    }
}

impl Web {
    /// Says which node it is that asks, from an address, where that may look. Whatever is not known for sure is a no.
    pub(super) fn node_that_calls(&self, asked: &Asked, peer: IpAddr, now: u64) -> Option<String> {
        // Whoever is behind a proxy is not who is at the other end of the connection.
        let is_forwarded =
            asked.headers.iter().any(|(name, _)| name == "forwarded" || name.starts_with("x-forwarded"));
        let (peer, called) = (peer.to_canonical(), asked.called?.to_canonical());
        if self.viewers.may.is_empty() || is_forwarded || peer == called || self.place.proxies.has(peer) {
            return None;
        }
        let seen = self.seen(now);
        let status = seen.status()?;
        let (node, public_key) = peer_at(status, peer)?;
        // It was called by this host's address in the tunnel: at another one the answer goes another way.
        let own: Shown = self.told(&Procedure::Show { node: status.node.as_ref()?.to_string() }).ok()?;
        if !own.has_address(called) {
            return None;
        }
        let shown: Shown = self.told(&Procedure::Show { node: node.clone() }).ok()?;
        let is_same = shown.public_key == public_key && shown.has_address(peer);
        let is_it = is_same && shown.active && self.viewers.has(&node, &shown.groups);
        is_it.then_some(node)
    }

    /// Writes down that a node looks, once a day.
    ///
    /// # Errors
    /// The database cannot be written.
    pub(super) fn note_by_tunnel(&self, node: &str, address: IpAddr, now: u64) -> Result<(), Refused> {
        let mut noted = self.viewers.noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        noted.retain(|_, at| is_within(*at, NOTED, now));
        if noted.contains_key(node) {
            return Ok(());
        }
        let (who, address, action) = (who(node), address.to_string(), BY_TUNNEL.into());
        self.database.record(&Entry { at: now, who, address, action, status: 200, ..Entry::default() })?;
        noted.insert(node.to_owned(), now);
        Ok(())
    }
}

/// What a node is called where users are. No user can be called so.
pub(super) fn who(node: &str) -> String {
    format!("tunnel {node}")
}

/// Finds the node whose session carries an address now, and its key.
fn peer_at(status: &Status, address: IpAddr) -> Option<(String, String)> {
    if matches!(status.state, State::Down) {
        return None;
    }
    let is_it = |peer: &&crate::status::PeerStatus| {
        let is_there = matches!(peer.health, Health::Online | Health::Uncertain);
        is_there
            && peer
                .allowed_ips
                .iter()
                .any(|net| net.addr() == address && net.prefix_len() == net.max_prefix_len())
    };
    let found = status.peers.iter().find(is_it)?;
    Some((found.name.as_ref()?.to_string(), found.public_key.to_string()))
}

impl Shown {
    fn has_address(&self, address: IpAddr) -> bool {
        let is_it = |own: &str| own.parse::<IpAddr>().is_ok_and(|own| own == address);
        is_it(&self.address) || self.address6.as_deref().is_some_and(is_it)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::web::Database;
    use crate::web::guard::Place;
    use crate::web::procedure::Agent;
    use crate::web::proxy::Proxies;
    use crate::web::routes::{ROUTES, Scope};

    /// This host is `wsl`; `phone` has a session, `tablet` had one, and `expired` takes no part any more.
    struct Fake;

    const KEYS: [(&str, &str, u8); 4] = [
        ("wsl", "10.0.0.1", 1),
        ("phone", "10.0.0.2", 2),
        ("tablet", "10.0.0.3", 3),
        ("expired", "10.0.0.4", 4),
    ];

    fn key(n: u8) -> String {
        crate::model::PrivateKey::from_bytes([n; 32]).public_key().to_string()
    }

    impl Agent for Fake {
        fn call(&self, procedure: &Procedure) -> Result<Value, Refused> {
            let peer = |name: &str, address: &str, n: u8, health: &str| {
                json!({"name": name, "public_key": key(n), "endpoint": null, "last_handshake": null, "handshake_age": null, "health": health,
                    "rx_bytes": 0, "tx_bytes": 0, "allowed_ips": [format!("{address}/32"), "10.9.0.0/24"], "matters": false})
            };
            match procedure {
                Procedure::Status => Ok(
                    json!({"version": 1, "network": "wg0", "node": "wsl", "backend": "kernel", "state": "up",
                    "peers": [peer("phone", "10.0.0.2", 2, "online"), peer("tablet", "10.0.0.3", 3, "down"),
                        peer("expired", "10.0.0.4", 4, "online"), peer("other-key", "10.0.0.2", 9, "down")],
                    "drift": [], "problems": [], "goes_back_in": null, "went_back_at": null}),
                ),
                Procedure::Show { node } => {
                    let Some((name, address, n)) = KEYS.iter().find(|(name, ..)| name == node) else {
                        return Err(Refused::new(404, "none", ""));
                    };
                    Ok(
                        json!({"name": name, "role": "spoke", "platform": "linux", "enabled": true, "active": *name != "expired",
                        "expires": null, "address": address, "address6": null, "endpoint": null, "public_key": key(*n), "routes": [],
                        "dns": [], "mtu": 1420, "keepalive": null, "listen_port": null, "local": [], "sites": [], "allowed_ips": [],
                        "rules": [], "groups": ["staff"]}),
                    )
                }
                Procedure::List => Ok(json!({"network": "wg0", "nodes": []})),
                Procedure::NetworkFile => Ok(json!({"version": 1, "text": "", "revision": "1"})),
                _ => Err(Refused::new(409, "nothing else is asked", "")),
            }
        }
    }

    fn web(viewers: &[&str]) -> Web {
        let place = Place {
            scheme: "http",
            hosts: vec!["10.0.0.1:8480".into()],
            proxies: Proxies(vec!["10.0.0.5/32".parse().unwrap()]),
            ..Place::default()
        };
        let viewers: Vec<String> = viewers.iter().map(|one| (*one).to_owned()).collect();
        let web = Web::new(Box::new(Fake), Database::in_memory().unwrap(), place, "wg0".into());
        Web { viewers: Viewers::read(&viewers).unwrap(), ..web }
    }

    fn asked(method: &str, path: &str, called: &str) -> Asked {
        let headers = [("host", "10.0.0.1:8480"), ("origin", "http://10.0.0.1:8480"), ("x-csrf", "")];
        Asked {
            method: method.into(),
            path: path.into(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            called: Some(called.parse().unwrap()),
            ..Asked::default()
        }
    }

    fn status(web: &Web, peer: &str, called: &str) -> u16 {
        web.answer(&asked("GET", "/api/v1/nodes", called), peer.parse().unwrap(), 1000).status
    }

    #[test]
    fn a_node_looks_where_it_may_and_comes_by_its_own_session() {
        for (viewers, may) in [
            (&["phone"][..], true),
            (&["@staff"], true),
            (&["*"], true),
            (&[], false),
            (&["tablet", "@admins"], false),
        ] {
            assert_eq!(status(&web(viewers), "10.0.0.2", "10.0.0.1") == 200, may, "{viewers:?}");
        }
        let all = web(&["*"]);
        assert_eq!(status(&all, "::ffff:10.0.0.2", "::ffff:10.0.0.1"), 200);
        for (peer, called, why) in [
            ("10.0.0.3", "10.0.0.1", "its session is over: somebody else may have its address"),
            ("10.0.0.4", "10.0.0.1", "it expired"),
            ("10.0.0.1", "10.0.0.1", "whoever is on this host"),
            ("127.0.0.1", "127.0.0.1", "whoever is on this host"),
            ("10.0.0.2", "203.0.113.7", "it was called at an address that is not the tunnel's"),
            ("10.9.0.7", "10.0.0.1", "a host behind a node is not that node"),
            ("10.0.0.5", "10.0.0.1", "a proxy"),
            ("192.0.2.1", "10.0.0.1", "a stranger"),
        ] {
            assert_eq!(status(&all, peer, called), 401, "{why}");
        }
        for header in ["x-forwarded-for", "forwarded", "x-forwarded-host"] {
            let mut asked = asked("GET", "/api/v1/nodes", "10.0.0.1");
            asked.headers.push((header.into(), "10.0.0.2".into()));
            assert_eq!(all.answer(&asked, [10, 0, 0, 2].into(), 1000).status, 401, "{header}");
            assert_eq!(all.answer(&asked, [10, 0, 0, 5].into(), 1000).status, 401, "{header}: by a proxy");
        }
        let unknown = Asked { called: None, ..asked("GET", "/api/v1/nodes", "10.0.0.1") };
        assert_eq!(all.answer(&unknown, [10, 0, 0, 2].into(), 1000).status, 401);
        assert!(Viewers::read(&["a b".into()]).is_err() && Viewers::read(&["@".into()]).is_err());
    }

    #[test]
    fn whoever_comes_so_writes_nothing_and_takes_no_key_out() {
        let web = web(&["*"]);
        for route in ROUTES {
            let path = route
                .path
                .replace("{node}", "phone")
                .replace("{revision}", "1")
                .replace("{name}", "page.css");
            let status = web
                .answer(&asked(route.method.as_str(), &path, "10.0.0.1"), [10, 0, 0, 2].into(), 1000)
                .status;
            match route.scope {
                Scope::Public => {}
                // A stream is for whoever signed in; the page asks again by itself.
                Scope::Read if route.path.ends_with("/events") => assert_eq!(status, 503, "{path}"),
                Scope::Read => assert!(!matches!(status, 401 | 403) && !route.changes(), "{path}: {status}"),
                _ => assert!(matches!(status, 401 | 403), "{} {path}: {status}", route.method.as_str()),
            }
        }
        let page = web.answer(&asked("GET", "/nodes", "10.0.0.1"), [10, 0, 0, 2].into(), 1000);
        let page = String::from_utf8_lossy(&page.body).into_owned();
        assert!(
            page.contains("phone, by the tunnel")
                && page.contains("/login")
                && !page.contains("<form method=\"post\""),
            "{page}"
        );
        let noted = web.database.audit(100).unwrap();
        let of_tunnel: Vec<_> = noted.iter().filter(|entry| entry.action == BY_TUNNEL).collect();
        assert_eq!(
            (of_tunnel.len(), of_tunnel[0].who.as_str(), of_tunnel[0].address.as_str()),
            (1, "tunnel phone", "10.0.0.2")
        );
    }
}

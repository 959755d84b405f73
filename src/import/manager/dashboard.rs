//! WGDashboard 4: a table for each interface with its clients' keys and names; the relay's own file is beside it.

use super::sqlite::{Database, Row};
use super::{Conf, Relays, Store, file_name, text};
use crate::model::PrivateKey;

/// Reads the database; `None`: none of its tables is one of clients.
pub(super) fn of_database(name: &str, database: &Database<'_>, relays: &Relays) -> Option<Store> {
    let mut store = Store::default();
    let mut is_one = false;
    for table in database.tables() {
        let rows = database.rows(table)?;
        let is_clients = |r: &Row| {
            r.contains_key("id") && r.contains_key("allowed_ip") && r.contains_key("endpoint_allowed_ip")
        };
        let is_restricted = table.ends_with("_restrict_access");
        if table.ends_with("_deleted") || rows.is_empty() || !rows.iter().all(is_clients) {
            continue;
        }
        is_one = true;
        for row in &rows {
            let label = text(row, "name").filter(|n| !n.is_empty());
            // A peer that is kept out is in no file of the relay's.
            if let (true, Ok(key)) = (is_restricted, text(row, "id")?.parse()) {
                store.disabled.push(key);
            }
            let Some(private) = text(row, "private_key").filter(|k| !k.is_empty()) else { continue };
            let mut file = Conf::default();
            file.section("Interface");
            file.line("PrivateKey", Some(private));
            file.line("Address", text(row, "allowed_ip"));
            file.line("DNS", text(row, "DNS"));
            file.line("MTU", text(row, "mtu").filter(|m| *m != "0"));
            file.section("Peer");
            // Whose it is, the relay's own file tells.
            let relay = relays.get(table.split('_').next().unwrap_or(table)).map(|d| &d.interface);
            let relay = relay.or_else(|| relays.values().next().map(|d| &d.interface));
            let key =
                relay.and_then(|i| i.private_key.as_ref()).map(|k| PrivateKey::public_key(k).to_string());
            file.line("PublicKey", key.as_deref());
            let host = text(row, "remote_endpoint").filter(|h| !h.is_empty());
            let endpoint =
                host.zip(relay.and_then(|i| i.listen_port)).map(|(host, port)| format!("{host}:{port}"));
            file.line("Endpoint", endpoint.as_deref());
            file.line("PresharedKey", text(row, "preshared_key"));
            file.line("AllowedIPs", text(row, "endpoint_allowed_ip"));
            file.line("PersistentKeepalive", text(row, "keepalive").filter(|k| *k != "0"));
            let named = label.map_or_else(
                || {
                    text(row, "id")
                        .unwrap_or_default()
                        .chars()
                        .filter(char::is_ascii_alphanumeric)
                        .take(8)
                        .collect()
                },
                str::to_owned,
            );
            store.files.push((file_name(name, &named), file.0));
        }
    }
    is_one.then_some(store)
}

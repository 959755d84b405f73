//! wg-portal 2, where it keeps SQLite: its gorm tables `interfaces`, `peers` and the addresses of both.

use super::sqlite::{Database, Row};
use super::{Conf, Store, file_name, text};

/// Reads the database.
pub(super) fn of_database(name: &str, database: &Database<'_>, today: &str) -> Option<Store> {
    let mut store = Store::default();
    let interfaces = database.rows("interfaces")?;
    let peers = database.rows("peers")?;
    let own_addresses = database.rows("interface_addresses")?;
    let peer_addresses = database.rows("peer_addresses")?;
    let addresses = |rows: &[Row], column: &str, id: &str| -> Vec<String> {
        let own = rows.iter().filter(|r| text(r, column) == Some(id));
        own.filter_map(|r| text(r, "cidr_cidr")).map(str::to_owned).collect()
    };
    for interface in interfaces.iter().filter(|i| text(i, "type") != Some("client")) {
        let id = text(interface, "identifier")?;
        let mut conf = Conf::default();
        conf.section("Interface");
        conf.line("PrivateKey", text(interface, "private_key"));
        conf.line("Address", Some(&addresses(&own_addresses, "interface_identifier", id).join(", ")));
        conf.line("ListenPort", text(interface, "listen_port").filter(|p| *p != "0"));
        conf.line("MTU", text(interface, "mtu").filter(|m| *m != "0"));
        conf.line("FwMark", text(interface, "firewall_mark").filter(|m| *m != "0"));
        conf.line("Table", text(interface, "routing_table"));
        for (key, column) in
            [("PreUp", "pre_up"), ("PostUp", "post_up"), ("PreDown", "pre_down"), ("PostDown", "post_down")]
        {
            conf.hooks(key, text(interface, column));
        }
        for peer in peers.iter().filter(|p| text(p, "interface_identifier") == Some(id)) {
            let key = text(peer, "identifier")?;
            let label = text(peer, "display_name").unwrap_or(key);
            store.client(key, text(peer, "disabled").is_some(), text(peer, "expires_at"), today);
            let own = addresses(&peer_addresses, "peer_identifier", key);
            let bare = |a: &String| a.split('/').next().unwrap_or_default().to_owned();
            let hosts = own.iter().map(|a| format!("{}/{}", bare(a), if a.contains(':') { 128 } else { 32 }));
            let extra = text(peer, "extra_allowed_ips_str").filter(|t| !t.is_empty()).map(str::to_owned);
            conf.comment(&format!("-WGP- Display name: {label}"));
            conf.section("Peer");
            conf.line("PublicKey", Some(key));
            conf.line("PresharedKey", text(peer, "preshared_key"));
            conf.line("AllowedIPs", Some(&hosts.chain(extra).collect::<Vec<_>>().join(", ")));
            let Some(private) = text(peer, "private_key").filter(|k| !k.is_empty()) else { continue };
            let mut file = Conf::default();
            file.section("Interface");
            file.line("PrivateKey", Some(private));
            file.line("Address", Some(&own.join(", ")));
            let dns = ["iface_dns_str_v", "iface_dns_search_str_v"].into_iter().filter_map(|c| text(peer, c));
            let dns: Vec<&str> = dns.filter(|list| !list.is_empty()).collect();
            file.line("DNS", Some(&dns.join(", ")));
            file.line("MTU", text(peer, "iface_mtu_v").filter(|m| *m != "0"));
            file.line("FwMark", text(peer, "iface_firewall_mark_v").filter(|m| *m != "0"));
            file.line("Table", text(peer, "iface_routing_table_v"));
            for (key, column) in [
                ("PreUp", "iface_pre_up_v"),
                ("PostUp", "iface_post_up_v"),
                ("PreDown", "iface_pre_down_v"),
                ("PostDown", "iface_post_down_v"),
            ] {
                file.hooks(key, text(peer, column));
            }
            file.section("Peer");
            file.line("PublicKey", text(peer, "endpoint_pubkey_v").or_else(|| text(interface, "public_key")));
            file.line("PresharedKey", text(peer, "preshared_key"));
            file.line("AllowedIPs", text(peer, "allowed_ips_str_v"));
            file.line("Endpoint", text(peer, "endpoint_v"));
            file.line("PersistentKeepalive", text(peer, "persistent_keep_alive_v").filter(|k| *k != "0"));
            store.files.push((file_name(name, label), file.0));
        }
        store.files.insert(0, (format!("{name}/{id}.conf"), conf.0));
    }
    Some(store)
}

//! wg-easy: `wg0.json` of version 14 and before, `wg-easy.db` of 15.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Deserialize;

use super::sqlite::{Database, Row};
use super::{Conf, Store, file_name, is_over, list, text};
use crate::model::Problem;

/// What version 14 gives its clients unless its environment says otherwise.
const ALLOWED: &str = "0.0.0.0/0, ::/0";
const PORT: &str = "51820";

#[derive(Deserialize)]
struct Json {
    server: Server,
    #[serde(default)]
    clients: BTreeMap<String, Client>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    private_key: String,
    public_key: String,
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Client {
    name: String,
    address: String,
    public_key: String,
    private_key: Option<String>,
    pre_shared_key: Option<String>,
    #[serde(default = "yes")]
    enabled: bool,
    expired_at: Option<String>,
}

fn yes() -> bool {
    true
}

/// Reads `wg0.json`.
pub(super) fn of_json(name: &str, bytes: &[u8], today: &str) -> Result<Store, Problem> {
    let json: Json = serde_json::from_slice(bytes).map_err(|e| {
        let place = format!("{name}:{}:{}", e.line().max(1), e.column().max(1));
        let message = "it is JSON, and not as wg-easy writes its wg0.json";
        Problem::error("bad-store", place, message, "give the .conf files instead")
    })?;
    let mut store = Store::default();
    let (hub, address) = (&json.server, &json.server.address);
    let mut conf = Conf::default();
    conf.section("Interface");
    conf.line("PrivateKey", Some(&hub.private_key));
    conf.line("Address", Some(&format!("{address}/24")));
    conf.line("ListenPort", Some(PORT));
    // What it runs when the interface comes up, unless its environment says otherwise.
    conf.hooks(
        "PostUp",
        Some("iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE; iptables -A FORWARD -i %i -j ACCEPT"),
    );
    for client in json.clients.values() {
        store.client(&client.public_key, !client.enabled, client.expired_at.as_deref(), today);
        conf.comment(&format!("Client: {}", client.name));
        conf.section("Peer");
        conf.line("PublicKey", Some(&client.public_key));
        conf.line("PresharedKey", client.pre_shared_key.as_deref());
        conf.line("AllowedIPs", Some(&format!("{}/32", client.address)));
        let Some(private) = client.private_key.as_deref().filter(|k| !k.is_empty()) else { continue };
        let mut own = Conf::default();
        own.section("Interface");
        own.line("PrivateKey", Some(private));
        own.line("Address", Some(&format!("{}/24", client.address)));
        own.section("Peer");
        own.line("PublicKey", Some(&hub.public_key));
        own.line("PresharedKey", client.pre_shared_key.as_deref());
        own.line("AllowedIPs", Some(ALLOWED));
        store.files.push((file_name(name, &client.name), own.0));
    }
    store.files.insert(0, (name.trim_end_matches(".json").to_owned() + ".conf", conf.0));
    store.findings.push(Problem::warning(
        "store-without-settings",
        format!("{name}:1:1"),
        "what wg-easy has in its environment is not in this file: WG_HOST and WG_PORT, WG_ALLOWED_IPS, WG_DEFAULT_DNS, \
         WG_PERSISTENT_KEEPALIVE, WG_MTU, WG_POST_UP"
            .to_owned(),
        "its defaults are taken; where they were set, `wgrelay set` sets them: endpoint of the relay, routes, dns, keepalive and mtu of nodes",
    ));
    Ok(store)
}

/// Reads `wg-easy.db`.
pub(super) fn of_database(name: &str, database: &Database<'_>, today: &str) -> Option<Store> {
    let mut store = Store::default();
    let interfaces = database.rows("interfaces_table")?;
    let clients = database.rows("clients_table")?;
    let by_id = |table: &str| -> BTreeMap<String, Row> {
        let rows = database.rows(table).unwrap_or_default();
        rows.into_iter().filter_map(|r| Some((text(&r, "id")?.to_owned(), r))).collect()
    };
    let (hooks, settings) = (by_id("hooks_table"), by_id("user_configs_table"));
    for interface in &interfaces {
        let id = text(interface, "name")?;
        let settings = settings.get(id);
        let (v4, v6) = (first(text(interface, "ipv4_cidr")?), text(interface, "ipv6_cidr").and_then(first));
        let filled = |hook: &str| {
            hook.replace("{{ipv4Cidr}}", text(interface, "ipv4_cidr").unwrap_or_default())
                .replace("{{ipv6Cidr}}", text(interface, "ipv6_cidr").unwrap_or_default())
                .replace("{{device}}", text(interface, "device").unwrap_or_default())
                .replace("{{port}}", text(interface, "port").unwrap_or_default())
        };
        let mut conf = Conf::default();
        conf.section("Interface");
        conf.line("PrivateKey", text(interface, "private_key"));
        let addresses: Vec<String> = v4.into_iter().chain(v6).collect();
        conf.line("Address", Some(&addresses.join(", ")));
        conf.line("ListenPort", text(interface, "port"));
        conf.line("MTU", text(interface, "mtu"));
        if let Some(hooks) = hooks.get(id) {
            for (key, column) in [
                ("PreUp", "pre_up"),
                ("PostUp", "post_up"),
                ("PreDown", "pre_down"),
                ("PostDown", "post_down"),
            ] {
                conf.hooks(key, text(hooks, column).map(filled).as_deref());
            }
        }
        let port = settings.and_then(|s| text(s, "port")).or_else(|| text(interface, "port")).unwrap_or(PORT);
        let host = settings.and_then(|s| text(s, "host")).filter(|h| !h.is_empty());
        let endpoint =
            host.map(|h| if h.contains(':') { format!("[{h}]:{port}") } else { format!("{h}:{port}") });
        let default = |column: &str| settings.and_then(|s| text(s, column));
        for client in clients.iter().filter(|c| text(c, "interface_id").is_none_or(|i| i == id)) {
            let label = text(client, "name").unwrap_or("client");
            let key = text(client, "public_key")?;
            let is_off = is_over(text(client, "enabled"), None, today);
            store.client(key, is_off, text(client, "expires_at"), today);
            let own: Vec<String> = [("ipv4_address", 32), ("ipv6_address", 128)]
                .iter()
                .filter_map(|(column, length)| Some(format!("{}/{length}", text(client, column)?)))
                .collect();
            let extra = text(client, "server_allowed_ips").map(list).filter(|l| !l.is_empty());
            conf.comment(&format!("Client: {label}"));
            conf.section("Peer");
            conf.line("PublicKey", Some(key));
            conf.line("PresharedKey", text(client, "pre_shared_key"));
            conf.line("AllowedIPs", Some(&own.iter().cloned().chain(extra).collect::<Vec<_>>().join(", ")));
            conf.line("Endpoint", text(client, "server_endpoint"));
            let mut file = Conf::default();
            file.section("Interface");
            file.line("PrivateKey", text(client, "private_key"));
            file.line("Address", Some(&own.join(", ")));
            file.line("DNS", text(client, "dns").or_else(|| default("default_dns")).map(list).as_deref());
            file.line("MTU", text(client, "mtu"));
            for (key, column) in [
                ("PreUp", "pre_up"),
                ("PostUp", "post_up"),
                ("PreDown", "pre_down"),
                ("PostDown", "post_down"),
            ] {
                file.hooks(key, text(client, column));
            }
            file.section("Peer");
            file.line("PublicKey", text(interface, "public_key"));
            file.line("PresharedKey", text(client, "pre_shared_key"));
            let allowed = text(client, "allowed_ips").or_else(|| default("default_allowed_ips")).map(list);
            file.line("AllowedIPs", allowed.as_deref());
            file.line("PersistentKeepalive", text(client, "persistent_keepalive").filter(|k| *k != "0"));
            file.line("Endpoint", endpoint.as_deref());
            store.files.push((file_name(name, label), file.0));
        }
        store.files.insert(0, (format!("{name}/{id}.conf"), conf.0));
    }
    Some(store)
}

/// The address that wg-easy takes of a subnet for itself: the first.
fn first(cidr: &str) -> Option<String> {
    let net: IpNet = cidr.parse().ok()?;
    let address = match net.trunc() {
        IpNet::V4(net) => Ipv4Addr::from(u32::from(net.addr()).checked_add(1)?).to_string(),
        IpNet::V6(net) => Ipv6Addr::from(u128::from(net.addr()).checked_add(1)?).to_string(),
    };
    Some(format!("{address}/{}", net.prefix_len()))
}

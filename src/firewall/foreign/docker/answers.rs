//! What an engine answers, as far as it concerns us: networks, containers, its version.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::Deserialize;

use super::{DockerContainer, DockerEngine, DockerNetwork, GatewayMode};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedNetwork {
    name: String,
    id: String,
    driver: String,
    #[serde(default, rename = "IPAM")]
    ipam: Option<Ipam>,
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam {
    #[serde(default)]
    config: Option<Vec<IpamConfig>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IpamConfig {
    #[serde(default)]
    subnet: Option<String>,
}

/// Reads the engine's list of containers (`GET /containers/json`); `None`: it is none.
pub(crate) fn parse_containers(body: &[u8]) -> Option<Vec<DockerContainer>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Listed {
        #[serde(default)]
        names: Vec<String>,
        network_settings: Settings,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Settings {
        #[serde(default)]
        networks: BTreeMap<String, Attachment>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Attachment {
        #[serde(default)]
        gw_priority: i64,
        #[serde(default, rename = "IPAddress")]
        ip_address: String,
    }
    let list: Vec<Listed> = serde_json::from_slice(body).ok()?;
    let container = |listed: Listed| DockerContainer {
        name: listed.names.first().map(|n| n.trim_start_matches('/').to_string()).unwrap_or_default(),
        addresses: listed
            .network_settings
            .networks
            .iter()
            .filter_map(|(n, a)| Some((n.clone(), a.ip_address.parse().ok()?)))
            .collect(),
        networks: listed.network_settings.networks.into_iter().map(|(n, a)| (n, a.gw_priority)).collect(),
    };
    Some(list.into_iter().map(container).collect())
}

/// Reads what the engine says of itself (`GET /version`); `None`: it says nothing.
pub(crate) fn parse_version(body: &[u8]) -> Option<DockerEngine> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Version {
        version: String,
        #[serde(default)]
        platform: Option<Platform>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Platform {
        #[serde(default)]
        name: String,
    }
    let said: Version = serde_json::from_slice(body).ok()?;
    Some(DockerEngine { version: said.version, platform: said.platform.map(|p| p.name).unwrap_or_default() })
}

/// Reads the engine's list of networks (`GET /networks`); `None`: it is none.
pub(crate) fn parse_networks(body: &[u8]) -> Option<BTreeMap<String, DockerNetwork>> {
    let list: Vec<ListedNetwork> = serde_json::from_slice(body).ok()?;
    let bridges = list.into_iter().filter(|n| n.driver == "bridge").map(|n| {
        let option =
            |name: &str| n.options.as_ref().and_then(|o| o.get(&format!("com.docker.network.bridge.{name}")));
        let mode = |name: &str| option(name).and_then(|v| GatewayMode::parse(v)).unwrap_or_default();
        let (gateway_mode4, gateway_mode6) = (mode("gateway_mode_ipv4"), mode("gateway_mode_ipv6"));
        let trusted: BTreeSet<String> = option("trusted_host_interfaces")
            .into_iter()
            .flat_map(|list| list.split(':'))
            .filter(|link| !link.is_empty())
            .map(str::to_string)
            .collect();
        let bridge = match option("name") {
            Some(name) => name.clone(),
            None if n.name == "bridge" => "docker0".into(),
            // The engine names a bridge after the first half of the network's short id.
            None => format!("br-{}", n.id.chars().take(12).collect::<String>()),
        };
        let subnets: Vec<IpNet> = n
            .ipam
            .and_then(|i| i.config)
            .into_iter()
            .flatten()
            .filter_map(|c| c.subnet?.parse().ok())
            .collect();
        (n.name, DockerNetwork { bridge, subnets, trusted, gateway_mode4, gateway_mode6 })
    });
    Some(bridges.collect())
}

/// Returns the engine's networks that have no bridge on its host, with their drivers: `macvlan`, `ipvlan`, `overlay`.
pub(crate) fn parse_unbridged(body: &[u8]) -> BTreeMap<String, String> {
    let list: Vec<ListedNetwork> = serde_json::from_slice(body).unwrap_or_default();
    let unbridged = list.into_iter().filter(|n| !matches!(n.driver.as_str(), "bridge" | "host" | "null"));
    unbridged.map(|n| (n.name, n.driver)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"[
      {"Name":"webvirtcloud_default","Id":"6a7541fe74a1c0ffee00aa11bb22cc33dd44ee55ff6677889900aabbccddeeff","Driver":"bridge",
       "IPAM":{"Driver":"default","Options":null,"Config":[{"Subnet":"172.19.0.0/16","Gateway":"172.19.0.1"}]},"Options":{}},
      {"Name":"bridge","Id":"aa00","Driver":"bridge","IPAM":{"Config":[{"Subnet":"172.17.0.0/16"}]},
       "Options":{"com.docker.network.bridge.default_bridge":"true","com.docker.network.bridge.name":"docker0"}},
      {"Name":"six","Id":"0123456789abcdef","Driver":"bridge",
       "Options":{"com.docker.network.bridge.trusted_host_interfaces":"wg0:eth1","com.docker.network.bridge.gateway_mode_ipv4":"routed"},
       "IPAM":{"Config":[{"Subnet":"10.9.0.0/24"},{"Subnet":"fd00:9::/64"}]}},
      {"Name":"lan","Id":"dd","Driver":"macvlan","IPAM":{"Config":[{"Subnet":"192.168.1.0/24"}]},"Options":{"parent":"eth0"}},
      {"Name":"host","Id":"bb","Driver":"host","IPAM":{"Driver":"default","Options":null,"Config":null},"Options":{}},
      {"Name":"none","Id":"cc","Driver":"null","IPAM":{"Config":[]}}]"#;

    #[test]
    fn bridges_and_their_subnets() {
        let networks = parse_networks(BODY.as_bytes()).unwrap();
        let bridges: Vec<(&str, &str)> =
            networks.iter().map(|(name, n)| (name.as_str(), n.bridge.as_str())).collect();
        assert_eq!(
            bridges,
            [("bridge", "docker0"), ("six", "br-0123456789ab"), ("webvirtcloud_default", "br-6a7541fe74a1")]
        );
        assert_eq!(parse_unbridged(BODY.as_bytes()), BTreeMap::from([("lan".into(), "macvlan".into())]));
        assert_eq!(networks["six"].subnets.len(), 2);
        assert_eq!(networks["six"].trusted, ["eth1", "wg0"].map(String::from).into());
        assert_eq!(networks["six"].gateway_mode4, GatewayMode::Routed);
        assert_eq!(networks["six"].gateway_mode6, GatewayMode::Nat);
        assert_eq!(networks["webvirtcloud_default"].subnets, ["172.19.0.0/16".parse().unwrap()]);
        assert_eq!(parse_networks(b"{\"message\":\"no\"}"), None);
    }

    #[test]
    fn versions_and_containers() {
        let body =
            r#"{"Platform":{"Name":"Docker Desktop 4.34.0 (165256)"},"Version":"27.2.0","Os":"linux"}"#;
        let engine = parse_version(body.as_bytes()).unwrap();
        assert!(engine.is_desktop());
        assert!(!engine.drops_in_raw());
        let plain = parse_version(br#"{"Version":"20.10.24+dfsg1"}"#).unwrap();
        assert!(!plain.is_desktop());
        assert!(!plain.drops_in_raw());
        assert_eq!(parse_version(b"[]"), None);
        let body = r#"[{"Id":"a","Names":["/compute"],"NetworkSettings":{"Networks":
            {"bridge":{"IPAddress":"172.17.0.2"},"cloud":{"IPAddress":"172.19.0.9","GwPriority":1}}}}]"#;
        let container = DockerContainer {
            name: "compute".into(),
            networks: [("bridge".to_string(), 0), ("cloud".to_string(), 1)].into(),
            addresses: [
                ("bridge".to_string(), [172, 17, 0, 2].into()),
                ("cloud".to_string(), [172, 19, 0, 9].into()),
            ]
            .into(),
        };
        assert_eq!(parse_containers(body.as_bytes()), Some(vec![container]));
    }
}

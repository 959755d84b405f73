//! The networks of the cases: the first user's own, dual stack, road warriors, two offices.

use std::net::Ipv4Addr;

use wgrelay::export::Hooks;
use wgrelay::model::{
    Network, Node, NodeName, Platform, PresharedKey, PrivateKey, Role, Routes, Site, SiteInterface, Timestamp,
};

pub const NOW: Timestamp = Timestamp(1_800_000_000);

/// A network and what is odd about its secrets.
pub struct Case {
    pub name: &'static str,
    pub network: Network,
    pub without_private_key: Vec<&'static str>,
}

pub fn every_case() -> Vec<Case> {
    vec![home(), dual_stack(), road_warrior(), site_to_site()]
}

pub static HOOKS: std::sync::LazyLock<Hooks> = std::sync::LazyLock::new(|| {
    Hooks {
    about: Vec::new(),
    functions: Vec::new(),
    pre_up: Vec::new(),
    post_up: vec![
        "sysctl -q -w net.ipv4.conf.%i.forwarding=1".into(),
        "nft add table inet wgrelay-%i; nft add chain inet wgrelay-%i forward '{ type filter hook forward priority 0; }'".into(),
    ],
    post_down: vec!["nft delete table inet wgrelay-%i".into()],
}
});

/// A key that depends on the name alone.
pub fn private_key(name: &str) -> PrivateKey {
    PrivateKey::from_random(bytes(name))
}

pub fn preshared_key(relay: &NodeName, spoke: &NodeName) -> PresharedKey {
    PresharedKey::from_bytes(bytes(&format!("{relay}/{spoke}")))
}

fn bytes(seed: &str) -> [u8; 32] {
    let mut state =
        seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    std::array::from_fn(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
}

fn network(name: &str, subnet: &str, nodes: Vec<Node>) -> Network {
    Network::new(name.parse().unwrap(), subnet.parse().unwrap(), nodes)
}

fn node(name: &str, role: Role, platform: Platform, address: &str) -> Node {
    let address: Ipv4Addr = address.parse().unwrap();
    let mut node = Node::new(name.parse().unwrap(), role, address, private_key(name).public_key());
    node.platform = platform;
    node
}

fn site(subnet: &str, interface: Option<SiteInterface>) -> Site {
    Site { interface, ..Site::new(subnet.parse().unwrap()) }
}

pub fn node_mut<'a>(network: &'a mut Network, name: &str) -> &'a mut Node {
    network.nodes.get_mut(name).unwrap()
}

/// A relay in WSL beside Docker, a Windows laptop, and a container with virtual machines behind it.
pub fn home() -> Case {
    let mut wsl = node("wsl", Role::Relay, Platform::Linux, "192.168.3.1");
    wsl.endpoint = Some("192.168.39.45:51820".parse().unwrap());
    wsl.sites = vec![site("172.19.0.0/16", Some(SiteInterface::Docker("webvirtcloud_default".into())))];
    let windows = node("windows", Role::Spoke, Platform::Windows, "192.168.3.2");
    let mut docker = node("docker", Role::Spoke, Platform::Docker, "192.168.3.3");
    docker.local = vec!["172.19.0.0/16".parse().unwrap()];
    docker.sites = vec![site("192.168.33.0/24", Some(SiteInterface::Link("br-ext".into())))];
    Case {
        name: "wsl-docker",
        network: network("wg0", "192.168.3.0/24", vec![wsl, windows, docker]),
        without_private_key: vec![],
    }
}

/// Both families in the tunnel and outside of it.
pub fn dual_stack() -> Case {
    let mut hub = node("hub", Role::Relay, Platform::Linux, "10.9.0.1");
    hub.address6 = Some("fd5e:9::1".parse().unwrap());
    hub.endpoint = Some("[2001:db8::45]:4500".parse().unwrap());
    hub.sites = vec![site("fd5e:a::/64", None), site("10.20.0.0/16", None)];
    let mut box_ = node("box", Role::Spoke, Platform::Linux, "10.9.0.2");
    box_.address6 = Some("fd5e:9::2".parse().unwrap());
    box_.dns = vec!["fd5e:a::53".into(), "10.20.0.53".into(), "corp.example".into()];
    box_.sites = vec![site("fd5e:b::/64", None)];
    let mut phone = node("phone", Role::Spoke, Platform::Android, "10.9.0.3");
    phone.address6 = Some("fd5e:9::3".parse().unwrap());
    phone.keepalive = Some(0);
    let mut network = network("office", "10.9.0.0/24", vec![hub, box_, phone]);
    network.subnet6 = Some("fd5e:9::/64".parse().unwrap());
    Case { name: "dual-stack", network, without_private_key: vec![] }
}

/// Phones and laptops, full tunnel; one node brings its own key, one is disabled, one has expired.
pub fn road_warrior() -> Case {
    let mut gate = node("gate", Role::Relay, Platform::Linux, "10.66.0.1");
    gate.endpoint = Some("vpn.example.org:51820".parse().unwrap());
    gate.egress = true;
    let spoke = |name, platform, address| {
        let mut spoke = node(name, Role::Spoke, platform, address);
        spoke.routes = Routes::Full;
        spoke.dns = vec!["9.9.9.9".into()];
        spoke
    };
    let mut laptop = spoke("laptop", Platform::Windows, "10.66.0.2");
    laptop.mtu = Some(1380);
    let macbook = spoke("macbook", Platform::Macos, "10.66.0.3");
    let phone = spoke("phone", Platform::Ios, "10.66.0.4");
    let tablet = spoke("tablet", Platform::Android, "10.66.0.5");
    let mut stolen = spoke("stolen", Platform::Android, "10.66.0.6");
    stolen.enabled = false;
    let mut guest = spoke("guest", Platform::Linux, "10.66.0.7");
    guest.expires = Some(NOW);
    let mut network =
        network("wg-road", "10.66.0.0/24", vec![gate, laptop, macbook, phone, tablet, stolen, guest]);
    network.preshared_keys = false;
    Case { name: "road-warrior", network, without_private_key: vec!["macbook", "stolen"] }
}

/// Two offices behind routers, and an administrator who wants a part of one of them.
fn site_to_site() -> Case {
    let mut hub = node("hub", Role::Relay, Platform::Linux, "10.77.0.1");
    hub.endpoint = Some("198.51.100.1:51900".parse().unwrap());
    let mut east = node("east", Role::Spoke, Platform::Openwrt, "10.77.0.2");
    east.sites = vec![site("192.168.10.0/24", None)];
    let mut west = node("west", Role::Spoke, Platform::Mikrotik, "10.77.0.3");
    west.sites = vec![site("192.168.20.0/24", None), site("192.168.21.0/24", None)];
    west.endpoint = Some("203.0.113.9:13231".parse().unwrap());
    let mut admin = node("admin", Role::Spoke, Platform::Linux, "10.77.0.4");
    admin.routes = Routes::Only(vec![
        "10.77.0.0/24".parse().unwrap(),
        "192.168.0.0/19".parse().unwrap(),
        "198.51.100.0/24".parse().unwrap(),
    ]);
    admin.local = vec!["192.168.1.0/24".parse().unwrap()];
    admin.listen_port = Some(51999);
    Case {
        name: "site-to-site",
        network: network("wg0", "10.77.0.0/24", vec![hub, east, west, admin]),
        without_private_key: vec![],
    }
}

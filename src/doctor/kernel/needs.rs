//! What wgrelay, full tunnels, Docker and a compute node ask of a kernel, by the names of its configuration, and what does
//! not work without each. Options that the kernel's own Kconfig selects with these are not named.

use serde::Serialize;

/// What needs something of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum User {
    /// wgrelay itself, as a relay or in front of a site.
    Relay,
    /// A node that sends everything into the tunnel, by wgrelay or wg-quick.
    FullTunnel,
    /// Docker's engine beside it.
    Docker,
    /// A compute node: libvirt, its network filters, and firewalld.
    ComputeNode,
}

impl User {
    /// All of them, the most important first.
    pub const ALL: [Self; 4] = [Self::Relay, Self::FullTunnel, Self::Docker, Self::ComputeNode];

    /// Returns its name as in a sentence.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relay => "a relay",
            Self::FullTunnel => "full tunnels",
            Self::Docker => "Docker",
            Self::ComputeNode => "a compute node",
        }
    }
}

/// One thing that is asked of a kernel.
#[derive(Debug)]
pub struct Need {
    /// A short name that programs can rely on.
    pub code: &'static str,
    /// What uses it.
    pub users: &'static [User],
    /// Ways to meet it; for each way, all its options must be there. The first is the one that is proposed.
    pub ways: &'static [&'static [&'static str]],
    /// What does not work without it, one sentence.
    pub without: &'static str,
}

use User::{ComputeNode, Docker, FullTunnel, Relay};

/// Everything that is asked for.
pub const NEEDS: &[Need] = &[
    Need {
        code: "wireguard",
        users: &[Relay],
        ways: &[&["WIREGUARD"]],
        without: "no WireGuard in the kernel: wgrelay carries the packets itself, wg-quick needs wireguard-go",
    },
    Need {
        code: "tun",
        users: &[Relay, ComputeNode],
        ways: &[&["TUN"]],
        without: "no embedded data plane, no wireguard-go, no network cards for virtual machines",
    },
    Need {
        code: "nftables",
        users: &[Relay, Docker, ComputeNode],
        ways: &[&["NF_TABLES", "NF_TABLES_INET", "NF_TABLES_IPV4", "NF_TABLES_IPV6"]],
        without: "wgrelay's table cannot be loaded: no forwarding between the tunnel and a site",
    },
    Need {
        code: "conntrack",
        users: &[Relay, Docker],
        ways: &[&["NF_CONNTRACK", "NFT_CT"]],
        without: "no rule can tell an answer from a question: wgrelay's table cannot be loaded",
    },
    Need {
        code: "conntrack-mark",
        users: &[FullTunnel],
        ways: &[&["NF_CONNTRACK_MARK"]],
        without: "answers to what came by the tunnel cannot be told apart where reverse path filtering is strict",
    },
    Need {
        code: "nft-nat",
        users: &[Relay, Docker],
        ways: &[&["NF_NAT", "NFT_NAT", "NFT_MASQ"]],
        without: "no masquerade for sites, egress and containers",
    },
    Need {
        code: "nft-reject",
        users: &[Docker, ComputeNode],
        ways: &[&["NFT_REJECT", "NFT_REJECT_INET"]],
        without: "firewalld's and iptables-nft's REJECT rules cannot be loaded",
    },
    Need {
        code: "nft-fib-ipv4",
        users: &[FullTunnel, Docker],
        ways: &[&["NFT_FIB", "NFT_FIB_IPV4"]],
        without: "Docker's nftables backend does not start, and wg-quick's 0.0.0.0/0 by nft fails (wgrelay's does not)",
    },
    Need {
        code: "nft-fib-ipv6",
        users: &[FullTunnel, Docker],
        ways: &[&["NFT_FIB", "NFT_FIB_IPV6"]],
        without: "Docker's nftables backend goes without IPv6, and wg-quick's ::/0 by nft fails (wgrelay's does not)",
    },
    Need {
        code: "nft-fib-inet",
        users: &[ComputeNode],
        ways: &[&["NFT_FIB", "NFT_FIB_INET"]],
        without: "firewalld's reverse path rule fails to load, unless IPv6_rpfilter=no stands in firewalld.conf",
    },
    Need {
        code: "iptables",
        users: &[Docker],
        ways: &[
            &["NFT_COMPAT", "NETFILTER_XTABLES"],
            &["IP_NF_IPTABLES", "IP_NF_FILTER", "IP_NF_NAT", "IP_NF_RAW"],
        ],
        without: "Docker's engine does not start: neither iptables-nft nor iptables-legacy works",
    },
    Need {
        code: "iptables-matches",
        users: &[Docker],
        ways: &[&[
            "NETFILTER_XT_MATCH_ADDRTYPE",
            "NETFILTER_XT_MATCH_CONNTRACK",
            "NETFILTER_XT_MATCH_COMMENT",
            "NETFILTER_XT_TARGET_MASQUERADE",
        ]],
        without: "Docker's rules by iptables fail to load: no published ports, no way out for containers",
    },
    Need {
        code: "ipset",
        users: &[Docker, ComputeNode],
        ways: &[&["IP_SET", "IP_SET_HASH_IP", "IP_SET_HASH_NET", "NETFILTER_XT_SET"]],
        without: "Docker from 28 on and firewalld's IP sets fail to load their rules",
    },
    Need {
        code: "tcpmss",
        users: &[Relay],
        ways: &[&["NETFILTER_XT_TARGET_TCPMSS"]],
        without: "exported hooks by iptables cannot clamp TCP's segment size (nft's can)",
    },
    Need {
        code: "policy-routing",
        users: &[FullTunnel],
        ways: &[&["IP_ADVANCED_ROUTER", "IP_MULTIPLE_TABLES"]],
        without: "no routing table for the tunnel alone: 0.0.0.0/0 cannot go into it",
    },
    Need {
        code: "policy-routing-ipv6",
        users: &[FullTunnel],
        ways: &[&["IPV6_MULTIPLE_TABLES"]],
        without: "no IPv6 routing table for the tunnel alone: ::/0 cannot go into it",
    },
    Need {
        code: "bridge",
        users: &[Docker, ComputeNode],
        ways: &[&["BRIDGE"]],
        without: "no Docker network, no br-ext, no br-int",
    },
    Need {
        code: "bridge-netfilter",
        users: &[Docker, ComputeNode],
        ways: &[&["BRIDGE_NETFILTER"]],
        without: "containers of one network are not kept apart, and published ports fail between them",
    },
    Need { code: "veth", users: &[Docker], ways: &[&["VETH"]], without: "no container has a network card" },
    Need {
        code: "nft-bridge",
        users: &[ComputeNode],
        ways: &[&["NF_TABLES_BRIDGE", "NFT_COMPAT"]],
        without: "ebtables of Debian and Ubuntu (ebtables-nft) fails with TABLE_ADD: libvirt's nwfilter starts no \
                  virtual machine (ebtables-legacy does without, where BRIDGE_EBT_T_FILTER and BRIDGE_EBT_T_NAT are there)",
    },
    Need {
        code: "ebtables-matches",
        users: &[ComputeNode],
        ways: &[&[
            "BRIDGE_NF_EBTABLES",
            "BRIDGE_EBT_ARP",
            "BRIDGE_EBT_IP",
            "BRIDGE_EBT_IP6",
            "BRIDGE_EBT_802_3",
            "BRIDGE_EBT_AMONG",
            "BRIDGE_EBT_LIMIT",
            "BRIDGE_EBT_MARK",
            "BRIDGE_EBT_PKTTYPE",
            "BRIDGE_EBT_STP",
            "BRIDGE_EBT_VLAN",
            "BRIDGE_EBT_MARK_T",
            "BRIDGE_EBT_SNAT",
            "BRIDGE_EBT_DNAT",
            "BRIDGE_EBT_REDIRECT",
            "BRIDGE_EBT_ARPREPLY",
            "BRIDGE_EBT_LOG",
        ]],
        without: "ebtables fails with RULE_APPEND where a rule looks into a packet: libvirt's nwfilter stops there",
    },
    Need {
        code: "kvm",
        users: &[ComputeNode],
        ways: &[&["KVM", "KVM_INTEL"], &["KVM", "KVM_AMD"]],
        without: "no /dev/kvm: virtual machines are emulated, some twenty times slower",
    },
];

//! Judges a Linux kernel by its configuration (`.config`, `/proc/config.gz`): what is built in, what is a module, what is
//! absent, and what does not work without it. WSL's kernels are Microsoft's own and leave out what others take for granted.

mod config;
mod fragment;
mod needs;

use serde::Serialize;

pub use config::{KernelConfig, Setting, Unreadable, Version};
pub use fragment::{Fragment, fragment};
pub use needs::{NEEDS, Need, User};

/// One thing that is asked of a kernel, and what this one says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// A short name that programs can rely on.
    pub code: &'static str,
    /// What uses it.
    #[serde(rename = "for")]
    pub users: &'static [User],
    /// `y`: all of it is built in; `m`: some of it is a module; `absent`: some of it is not there.
    pub state: Setting,
    /// The options that stand for it, without `CONFIG_`: of several ways the one that is there, or is nearest.
    pub options: Vec<(&'static str, Setting)>,
    /// What does not work without it.
    pub without: &'static str,
}

impl Judged {
    /// Returns the options that are missing.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        self.options.iter().filter(|(_, setting)| *setting == Setting::Absent).map(|(option, _)| *option)
    }
}

/// Options that another processor's kernel does not have.
const X86_ALONE: [&str; 2] = ["KVM_INTEL", "KVM_AMD"];

/// Judges a kernel's configuration, in the order of [`NEEDS`].
pub fn judge(config: &KernelConfig) -> Vec<Judged> {
    NEEDS.iter().map(|need| judge_one(need, config)).collect()
}

fn judge_one(need: &'static Need, config: &KernelConfig) -> Judged {
    let ways = need.ways.iter().map(|way| {
        let options = way.iter().filter(|option| !(config.is_for_arm() && X86_ALONE.contains(option)));
        let options: Vec<_> = options.map(|option| (*option, config.get(option))).collect();
        let missing = options.iter().filter(|(_, setting)| *setting == Setting::Absent).count();
        (missing, options)
    });
    let (_, options) = ways.min_by_key(|(missing, _)| *missing).expect("a need has a way to be met");
    let state = options.iter().map(|(_, setting)| *setting).max().unwrap_or(Setting::Absent);
    Judged { code: need.code, users: need.users, state, options, without: need.without }
}

/// The answer in a line: who lacks something, or that nobody does.
pub fn answer(config: &KernelConfig, judged: &[Judged]) -> String {
    let name = config.version().map_or_else(|| "this kernel".into(), |version| format!("kernel {version}"));
    let lacking: Vec<_> = judged.iter().filter(|j| j.state == Setting::Absent).collect();
    if lacking.is_empty() {
        return format!("{name} has all that is asked for");
    }
    let users: Vec<_> =
        User::ALL.into_iter().filter(|user| lacking.iter().any(|j| j.users.contains(user))).collect();
    let names: Vec<_> = users.iter().map(|user| user.name()).collect();
    let lacks = format!("{name} lacks {} of {} things that are asked for", lacking.len(), judged.len());
    format!("{lacks}: for {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(lines: &str) -> KernelConfig {
        KernelConfig::parse(format!("CONFIG_NET=y\n{lines}").as_bytes()).expect("a configuration")
    }

    fn one(code: &str, lines: &str) -> Judged {
        judge(&config(lines)).into_iter().find(|j| j.code == code).expect("a known need")
    }

    #[test]
    fn a_module_is_there_and_a_half_is_not() {
        assert_eq!(one("wireguard", "CONFIG_WIREGUARD=m\n").state, Setting::Module);
        assert_eq!(one("wireguard", "CONFIG_WIREGUARD=y\n").state, Setting::BuiltIn);
        assert_eq!(one("wireguard", "# CONFIG_WIREGUARD is not set\n").state, Setting::Absent);
        let half = one("nft-nat", "CONFIG_NFT_NAT=y\nCONFIG_NF_NAT=m\n");
        assert_eq!((half.state, half.missing().collect::<Vec<_>>()), (Setting::Absent, vec!["NFT_MASQ"]));
    }

    #[test]
    fn of_two_ways_one_is_enough() {
        assert_eq!(one("kvm", "CONFIG_KVM=y\nCONFIG_KVM_AMD=m\n").state, Setting::Module);
        assert_eq!(one("kvm", "CONFIG_KVM=y\n").state, Setting::Absent);
        // ARM's has no halves.
        let arm = "# Linux/arm64 6.6.87.2 Kernel Configuration\nCONFIG_KVM=y\n";
        assert_eq!(one("kvm", arm).state, Setting::BuiltIn);
    }

    #[test]
    fn each_need_has_a_code_of_its_own_and_ways() {
        let mut codes: Vec<_> = NEEDS.iter().map(|need| need.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), NEEDS.len());
        assert!(
            NEEDS.iter().all(|n| !n.users.is_empty()
                && !n.ways.is_empty()
                && n.ways.iter().all(|way| !way.is_empty()))
        );
    }
}

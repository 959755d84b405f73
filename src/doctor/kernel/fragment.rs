//! The lines that a kernel's configuration lacks, for `scripts/kconfig/merge_config.sh`, and the steps to a kernel of one's
//! own under WSL.

use serde::Serialize;

use super::{KernelConfig, NEEDS, Setting, X86_ALONE, judge};

/// Options that others of a fragment depend on, without `CONFIG_`: kconfig drops a line whose ground is missing.
const GROUND: [&str; 2] = ["NETFILTER", "NETFILTER_ADVANCED"];

/// With these a kernel has its configuration in /proc/config.gz.
const OWN_CONFIG: [&str; 2] = ["IKCONFIG", "IKCONFIG_PROC"];

/// What kconfig makes a module where what it stands on is one: how such options begin, and what they stand on.
const GROUNDS: [(&str, &str); 6] = [
    ("BRIDGE_", "BRIDGE"),
    ("BRIDGE_EBT_", "BRIDGE_NF_EBTABLES"),
    ("NF_TABLES_BRIDGE", "BRIDGE"),
    ("NFT_FIB", "NFT_FIB"),
    ("IP_SET_", "IP_SET"),
    ("KVM_", "KVM"),
];

/// What is to be added to a configuration, and what to do with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fragment {
    /// Lines as `CONFIG_TUN=y`; none where nothing is missing.
    pub lines: Vec<String>,
    /// What to do, in order: a sentence or shell commands each.
    pub steps: Vec<String>,
}

/// Returns what a configuration lacks; without one, everything that is asked for. `file` is the configuration's path, where it is
/// in a file.
///
/// An option is built in, as a WSL kernel before 6.6 has no place for modules, and a module where what it stands on is one.
pub fn fragment(config: Option<&KernelConfig>, file: Option<&str>) -> Fragment {
    let empty = KernelConfig::default();
    let config = config.unwrap_or(&empty);
    let mut options: Vec<(&str, Setting)> = Vec::new();
    let mut add = |option, setting| {
        if config.get(option) == Setting::Absent && !options.iter().any(|(known, _)| *known == option) {
            options.push((option, setting));
        }
    };
    let lacking: Vec<_> = judge(config).into_iter().filter(|j| j.state == Setting::Absent).collect();
    if !lacking.is_empty() {
        GROUND.into_iter().for_each(|option| add(option, Setting::BuiltIn));
        // So that the kernel itself says what it has.
        OWN_CONFIG.into_iter().for_each(|option| add(option, Setting::BuiltIn));
    }
    for judged in &lacking {
        // Both processors' halves of KVM: whoever builds need not say which he has.
        let proposed = NEEDS.iter().filter(|need| need.code == judged.code).flat_map(|need| need.ways);
        let both = judged.code == "kvm";
        let ways = proposed.enumerate().filter(|(i, _)| both || *i == 0).map(|(_, way)| *way);
        for option in ways.flatten().filter(|option| !(config.is_for_arm() && X86_ALONE.contains(option))) {
            let below_a_module = GROUNDS.iter().any(|(prefix, ground)| {
                option.starts_with(prefix) && option != ground && config.get(ground) == Setting::Module
            });
            add(option, if below_a_module { Setting::Module } else { Setting::BuiltIn });
        }
    }
    let lines: Vec<_> =
        options.iter().map(|(option, setting)| format!("CONFIG_{option}={}", setting.word())).collect();
    let steps = if lines.is_empty() { Vec::new() } else { steps(config, file) };
    Fragment { lines, steps }
}

/// The way from a fragment to a running kernel under WSL.
fn steps(config: &KernelConfig, file: Option<&str>) -> Vec<String> {
    // From 6.6 on most of a WSL kernel is modules, on a disk of their own.
    let disk = config.version().is_none_or(|version| version.is_at_least(6, 6));
    let release = config.version().map_or_else(|| "$(uname -r | cut -d- -f1)".into(), ToString::to_string);
    let (image, theirs) = if config.is_for_arm() {
        ("arch/arm64/boot/Image", "config-wsl-arm64")
    } else {
        ("arch/x86/boot/bzImage", "config-wsl")
    };
    let name = image.rsplit('/').next().unwrap_or(image);
    let mut steps = vec![
        file.map_or_else(
            || "save these lines as ~/wgrelay.config".into(),
            |file| format!("save these lines: wgrelay doctor --kernel-config {file} --kernel-fragment >~/wgrelay.config"),
        ),
        "sudo apt install build-essential flex bison bc cpio python3 libssl-dev libelf-dev dwarves qemu-utils".into(),
        format!(
            "git clone --depth 1 --branch linux-msft-wsl-{release} https://github.com/microsoft/WSL2-Linux-Kernel.git \
             && cd WSL2-Linux-Kernel"
        ),
        file.map_or_else(
            || format!("zcat /proc/config.gz >.config || cp Microsoft/{theirs} .config"),
            |file| format!("zcat -f {file} >.config"),
        ),
        "scripts/kconfig/merge_config.sh -m .config ~/wgrelay.config && make olddefconfig".into(),
        format!("make -j\"$(nproc)\" {name} modules"),
    ];
    if disk {
        steps.push(
            "make INSTALL_MOD_PATH=\"$PWD/modules\" modules_install && sudo Microsoft/scripts/gen_modules_vhdx.sh \
             \"$PWD/modules\" \"$(make -s kernelrelease)\" modules.vhdx  # WSL 2.5.1 or later"
                .into(),
        );
    } else {
        steps.push("sudo make modules_install  # where an option stayed a module".into());
    }
    let disk_file = if disk { " modules.vhdx" } else { "" };
    steps.push(format!("mkdir -p /mnt/c/wsl && cp {image}{disk_file} /mnt/c/wsl/"));
    let modules = if disk { ", kernelModules=C:\\\\wsl\\\\modules.vhdx" } else { "" };
    steps.push(format!(
        "in %UserProfile%\\.wslconfig, under [wsl2], a line each: kernel=C:\\\\wsl\\\\{name}{modules}"
    ));
    steps.push("in Windows: wsl --shutdown".into());
    steps.push("afterwards: wgrelay doctor --kernel-config /proc/config.gz".into());
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> KernelConfig {
        KernelConfig::parse(text.as_bytes()).expect("a configuration")
    }

    #[test]
    fn with_a_fragment_nothing_is_missing() {
        for text in ["CONFIG_NET=y", "CONFIG_BRIDGE=m\nCONFIG_KVM=m", "CONFIG_NF_TABLES=y\nCONFIG_TUN=m"] {
            let added = fragment(Some(&parse(text)), None);
            let whole = parse(&format!("{text}\n{}", added.lines.join("\n")));
            let lacking: Vec<_> = judge(&whole).into_iter().filter(|j| j.state == Setting::Absent).collect();
            assert!(lacking.is_empty(), "{text}: {lacking:?}");
            assert_eq!(fragment(Some(&whole), None), Fragment { lines: Vec::new(), steps: Vec::new() });
        }
    }

    #[test]
    fn below_a_module_is_a_module() {
        let lines = |text| fragment(Some(&parse(text)), None).lines;
        assert!(lines("CONFIG_BRIDGE=m").contains(&"CONFIG_NF_TABLES_BRIDGE=m".into()));
        assert!(lines("CONFIG_BRIDGE=y").contains(&"CONFIG_NF_TABLES_BRIDGE=y".into()));
        assert!(!lines("CONFIG_BRIDGE=y").iter().any(|line| line == "CONFIG_BRIDGE=y"));
    }

    #[test]
    fn modules_have_a_disk_from_6_6_on() {
        let steps = |head: &str| {
            fragment(Some(&parse(&format!("{head}\nCONFIG_NET=y"))), Some("/boot/config")).steps.join("\n")
        };
        assert!(!steps("# Linux/x86 5.15.167.4 Kernel Configuration").contains("vhdx"));
        assert!(steps("# Linux/x86 5.15.167.4 Kernel Configuration").contains("linux-msft-wsl-5.15.167.4 "));
        let new = steps("# Linux/x86 6.6.87.2 Kernel Configuration");
        assert!(
            new.contains("kernelModules=C:\\\\wsl\\\\modules.vhdx") && new.contains("gen_modules_vhdx.sh")
        );
    }
    #[test]
    fn what_is_pasted_is_shell() {
        for head in
            ["# Linux/x86 5.15.167.4 Kernel Configuration", "# Linux/x86 6.6.87.2 Kernel Configuration"]
        {
            let added = fragment(Some(&parse(&format!("{head}\nCONFIG_NET=y"))), Some("/boot/config"));
            assert!(added.steps[0].contains("--kernel-config /boot/config "), "{}", added.steps[0]);
            let loose = |step: &String| step.replace("$(", "").contains(" (");
            assert!(!added.steps.iter().any(loose), "{:?}", added.steps);
            assert!(added.lines.contains(&"CONFIG_IKCONFIG_PROC=y".into()));
        }
        let arm = fragment(Some(&parse("# Linux/arm64 6.6.87.2 Kernel Configuration\nCONFIG_NET=y")), None);
        assert!(!arm.lines.iter().any(|line| line.contains("KVM_")), "{:?}", arm.lines);
        let text = arm.steps.join("\n");
        assert!(text.contains("arch/arm64/boot/Image") && !text.contains("bzImage"), "{text}");
    }
}

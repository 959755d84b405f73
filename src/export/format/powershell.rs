//! One script for Windows' administrator: what Windows has to do once so that a relay in WSL is reached and stays, and where
//! the client's file goes. It may be run again, and holds no key.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::NamedFile;
use crate::firewall::foreign::wsl::VM_CREATOR;
use crate::model::{Network, Node};

/// What the script is made for.
pub struct PowerShell<'a> {
    /// The network.
    pub network: &'a Network,
    /// The Windows node.
    pub node: &'a Node,
    /// The relay that runs in WSL on that PC, where one does.
    pub relay: &'a Node,
    /// The distribution that it runs in; `None`: the default one.
    pub distribution: Option<&'a str>,
}

/// A text between single quotes, in which PowerShell reads nothing but a doubled quote. What it takes for a quote goes.
fn quoted(text: &str) -> String {
    let plain: String = text
        .chars()
        .filter(|c| !c.is_control() && !"\u{2018}\u{2019}\u{201a}\u{201b}".contains(*c))
        .collect();
    format!("'{}'", plain.replace('\'', "''"))
}

/// Makes the script.
pub fn powershell(asked: &PowerShell<'_>) -> NamedFile {
    let PowerShell { network, node, relay, distribution } = asked;
    let name = quoted(&format!("wgrelay-{}", network.name));
    let port = relay.listen_port().unwrap_or(crate::model::DEFAULT_PORT);
    let distribution = distribution.map_or_else(String::new, |distribution| {
        format!("--distribution \"{}\" ", distribution.replace('"', ""))
    });
    let held = if distribution.is_empty() {
        "# Which distribution that is was not known: the default one (`wsl --list`). Another: --distribution NAME before --exec.\r\n"
    } else {
        ""
    };
    let arguments = quoted(&format!("{distribution}--exec sleep infinity"));
    let file = quoted(&format!("{}.conf", network.name));
    let mut text = String::new();
    let _ = write!(
        text,
        "#Requires -RunAsAdministrator\r\n\
         # What Windows does once for {network_name}, whose relay {relay} runs in WSL on this PC. Run it again at will.\r\n\
         #   powershell -ExecutionPolicy Bypass -File THIS-FILE            takes it back: -Remove\r\n\
         param([switch]$Remove)\r\n\
         $ErrorActionPreference = 'Stop'\r\n\
         $name = {name}\r\n\
         \r\n\
         # 1. Windows' Hyper-V firewall lets WireGuard's datagrams in (WSL 2.0.9 and later; mirrored mode needs it).\r\n\
         if (Get-Command New-NetFirewallHyperVRule -ErrorAction SilentlyContinue) {{\r\n\
         \x20   foreach ($rule in $name, 'wgrelay-{port}') {{ # the second is the one that `wgrelay doctor` proposes\r\n\
         \x20       Get-NetFirewallHyperVRule -Name $rule -ErrorAction SilentlyContinue | Remove-NetFirewallHyperVRule\r\n\
         \x20   }}\r\n\
         \x20   if (-not $Remove) {{\r\n\
         \x20       New-NetFirewallHyperVRule -Name $name -DisplayName $name -Direction Inbound -VMCreatorId '{VM_CREATOR}' `\r\n\
         \x20           -Protocol UDP -LocalPorts {port} -Action Allow | Out-Null\r\n\
         \x20   }}\r\n\
         }}\r\n\
         \r\n\
         # 2. A task holds a program in WSL from logon on: without one, WSL ends the relay after some seconds.\r\n\
         {held}if ($Remove) {{\r\n\
         \x20   Unregister-ScheduledTask -TaskName $name -Confirm:$false -ErrorAction SilentlyContinue\r\n\
         }} else {{\r\n\
         \x20   $action = New-ScheduledTaskAction -Execute 'wsl.exe' -Argument {arguments}\r\n\
         \x20   $trigger = New-ScheduledTaskTrigger -AtLogOn -User \"$env:USERDOMAIN\\$env:USERNAME\"\r\n\
         \x20   $settings = New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries `\r\n\
         \x20       -ExecutionTimeLimit ([TimeSpan]::Zero) -RestartCount 3 -RestartInterval (New-TimeSpan -Minutes 1)\r\n\
         \x20   Register-ScheduledTask -TaskName $name -Action $action -Trigger $trigger -Settings $settings -Force | Out-Null\r\n\
         \x20   Start-ScheduledTask -TaskName $name\r\n\
         }}\r\n\
         \r\n\
         # 3. The client: {node}'s file, from `wgrelay export {node}`, is saved as {conf} and taken by WireGuard for Windows.\r\n\
         $conf = Join-Path $PSScriptRoot {file}\r\n\
         $wireguard = Join-Path $env:ProgramFiles 'WireGuard\\wireguard.exe'\r\n\
         if ($Remove) {{\r\n\
         \x20   if (Test-Path $wireguard) {{ & $wireguard /uninstalltunnelservice {tunnel} }}\r\n\
         }} elseif ((Test-Path $conf) -and (Test-Path $wireguard)) {{\r\n\
         \x20   & $wireguard /installtunnelservice $conf\r\n\
         }} else {{\r\n\
         \x20   Write-Host \"next: put $conf here, and import it in WireGuard for Windows (https://www.wireguard.com/install)\"\r\n\
         }}\r\n",
        network_name = network.name,
        relay = relay.name,
        node = node.name,
        conf = format_args!("{}.conf", network.name),
        tunnel = quoted(network.name.as_str()),
    );
    NamedFile { name: format!("{}.ps1", network.name), text: Zeroizing::new(text), secret: false }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn nothing_leaves_its_quotes() {
        assert_eq!(quoted("a'; rm \u{2019}x\n$y"), "'a''; rm x$y'");
    }
}

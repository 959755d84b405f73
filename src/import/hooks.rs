//! What a file's hooks do to the host, as far as the usual commands tell: what they forward, what they masquerade, and what
//! is lost because nobody runs them any more.

use std::net::IpAddr;

use ipnet::IpNet;

use super::filter::Filter;
use super::masquerade::{Masquerade, tunnel_of};
use super::{command, names};
use crate::firewall::hooks::plain::is_plain;
use crate::wgconf::{Key, Reading, script};

/// Where a command stands: its key, its line and column.
pub(super) type Place = (Key, usize, usize);

/// A command that is not taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub place: Place,
    /// As written, nothing in it that could be a key.
    pub command: String,
    pub does: Does,
}

/// What is lost with a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Does {
    /// It keeps packets out.
    Drops,
    /// It lets packets into the host itself.
    Opens,
    /// It leads ports of this host to another one.
    Leads { ports: Vec<String>, to: String },
    /// It routes a prefix into the tunnel.
    Routes(IpNet),
    /// Anything else.
    Other,
}

/// What the commands that run when the interface comes up do.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    /// Where FORWARD accepts whatever comes from the tunnel or goes into it, and the one other link that it is about.
    pub forwards_everything: Option<(Place, Option<String>)>,
    /// Towards other links, in the order of the file.
    pub masquerades: Vec<Masquerade>,
    /// Where what goes into the tunnel gets this node's address.
    pub into_tunnel: Option<Place>,
    /// What the host is told to route or to let through, and by which link.
    pub carried: Vec<(IpNet, Option<String>)>,
    /// What the host is told to route into the tunnel.
    pub routed: Vec<IpNet>,
    /// Whether a policy rule leads whatever this host sends to a table of its own.
    pub leads_everything: bool,
    /// Whether lines of `wgrelay export` are among them.
    pub own: bool,
    /// Where the script of `wgrelay export` is called, if somebody changed it since.
    pub changed_script: Option<Place>,
    pub left_out: Vec<LeftOut>,
    /// Links that packets of the tunnel are let through to, or from.
    forwarded: Vec<String>,
    /// The tunnel's own prefixes.
    tunnel: Vec<IpNet>,
}

impl Hooks {
    pub(super) fn of(reading: &Reading, stem: &str) -> Self {
        let interface = &reading.document.interface;
        let mut hooks = Self { tunnel: tunnel_of(&reading.document), ..Self::default() };
        let mut own_place = None;
        let lists = [
            (Key::PreUp, &interface.pre_up),
            (Key::PostUp, &interface.post_up),
            (Key::PreDown, &interface.pre_down),
            (Key::PostDown, &interface.post_down),
        ];
        for (key, list) in lists {
            let places = reading.hooks.iter().filter(|p| p.key == key).map(|p| (key, p.line, p.column));
            for (hook, place) in list.iter().zip(places) {
                if script::is_call(hook) && !reading.document.script.is_empty() {
                    hooks.own = true;
                    own_place = own_place.or(Some(place));
                    continue;
                }
                if is_plain(hook.as_str()) {
                    hooks.own = true;
                    continue;
                }
                for words in command::split(hook.as_str()) {
                    if matches!(key, Key::PreUp | Key::PostUp) {
                        hooks.command(&words, place, stem);
                    } else if !command::undoes(&words) && !command::switches_forwarding(&words) {
                        hooks.leave_out(&words, place, Does::Other);
                    }
                }
            }
        }
        if let Some(place) = own_place {
            hooks.changed_script = (!script::is_as_sealed(&reading.document.script)).then_some(place);
            hooks.of_own(&reading.document.script.concat(), place);
        }
        hooks
    }

    fn leave_out(&mut self, words: &[String], place: Place, does: Does) {
        self.left_out.push(LeftOut { place, command: command::quoted(words), does });
    }

    /// Of the lines that `wgrelay export` wrote, what the network's own rules do not tell.
    fn of_own(&mut self, text: &str, place: Place) {
        if text.contains("masquerade") && self.masquerades.is_empty() {
            self.masquerades.push(Masquerade {
                link: None,
                limited: true,
                to: None,
                only: None,
                address: None,
                families: [true, true],
                place,
            });
        }
    }

    fn command(&mut self, words: &[String], place: Place, stem: &str) {
        if command::switches_forwarding(words) || command::does_nothing(words) {
            return;
        }
        let is_tunnel = |link: &str| names::is_tunnel(link, stem);
        self.leads_everything |= command::leads_everything(words);
        if let Some((net, link)) = command::route(words) {
            let leads_in = |ip: IpAddr| self.tunnel.iter().any(|t| t.contains(&ip));
            if link.as_deref().map_or_else(|| command::via(words).is_some_and(leads_in), is_tunnel) {
                self.routed.push(net);
                return self.leave_out(words, place, Does::Routes(net));
            }
            self.carried.push((net, link));
            return self.leave_out(words, place, Does::Other);
        }
        let Some(rule) = Filter::read(words) else {
            let does = if command::keeps_out(words) { Does::Drops } else { Does::Other };
            return self.leave_out(words, place, does);
        };
        let out = rule.out.as_ref().filter(|o| !o.inverted);
        match rule.verdict.as_str() {
            "MASQUERADE" | "SNAT" if out.is_some_and(|o| is_tunnel(&o.name)) => {
                self.into_tunnel = self.into_tunnel.or(Some(place));
            }
            "MASQUERADE" | "SNAT" => {
                let from_tunnel = rule.from.as_ref().is_some_and(|i| is_tunnel(&i.name));
                match Masquerade::of(&rule, &self.tunnel, from_tunnel, place) {
                    Some(masquerade) => self.masquerades.push(masquerade),
                    None => self.leave_out(words, place, Does::Other),
                }
            }
            "ACCEPT" if rule.forwards() && rule.answers_only => {}
            "ACCEPT" if rule.forwards() => {
                let links = rule.from.iter().chain(&rule.out).filter(|l| !l.inverted);
                self.forwarded.extend(links.map(|l| l.name.clone()).filter(|l| !is_tunnel(l)));
                let of_tunnel = rule.from.iter().chain(&rule.out).all(|l| !l.inverted && is_tunnel(&l.name));
                if of_tunnel && !rule.is_limited() {
                    self.forwards(place, None);
                    return;
                }
                let link = out.map(|o| o.name.clone()).filter(|l| !is_tunnel(l));
                if let Some(net) = rule.destination {
                    self.carried.push((net, link));
                } else if !rule.is_limited() && rule.from.as_ref().is_some_and(|i| is_tunnel(&i.name)) {
                    self.forwards(place, link);
                    return;
                }
                if rule.is_limited() {
                    self.leave_out(words, place, Does::Other);
                }
            }
            // The network's own rules clamp, too.
            "TCPMSS" => {}
            "DROP" | "REJECT" => self.leave_out(words, place, Does::Drops),
            _ if rule.opens() => self.leave_out(words, place, Does::Opens),
            _ => {
                let leads = rule.leads().map(|(ports, to)| Does::Leads { ports, to: to.to_owned() });
                self.leave_out(words, place, leads.unwrap_or(Does::Other));
            }
        }
    }

    /// Takes note of a rule that forwards whatever comes from the tunnel, by one link or any: the widest counts.
    fn forwards(&mut self, place: Place, link: Option<String>) {
        if self.forwards_everything.as_ref().is_none_or(|(_, narrow)| narrow.is_some() && link.is_none()) {
            self.forwards_everything = Some((place, link));
        }
    }

    /// The one link that a site may be behind: what is masqueraded or else let through there, unless several are.
    pub(super) fn only_link(&self) -> Option<&str> {
        let mut links: Vec<&str> = self.masquerades.iter().filter_map(|m| m.link.as_deref()).collect();
        if self.masquerades.is_empty() {
            links.extend(self.forwarded.iter().map(String::as_str));
        }
        links.sort_unstable();
        links.dedup();
        match links.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// The links that they masquerade or carry to, each once, in the order of the file.
    pub(super) fn links(&self) -> Vec<&str> {
        let mut links = Vec::new();
        let masquerades = self.masquerades.iter().filter_map(|m| m.link.as_deref());
        for link in masquerades.chain(self.carried.iter().filter_map(|(_, link)| link.as_deref())) {
            if !links.contains(&link) {
                links.push(link);
            }
        }
        links
    }

    /// The link that a prefix is behind, as far as they tell.
    pub(super) fn link_of(&self, net: &IpNet) -> Option<&str> {
        let named = self.carried.iter().filter(|(carried, _)| carried.contains(net));
        named.filter_map(|(_, link)| link.as_deref()).next().or_else(|| self.only_link())
    }

    /// Whether they masquerade what goes to a prefix.
    pub(super) fn masquerades(&self, net: &IpNet) -> bool {
        self.masquerades.iter().any(|m| m.to.is_none_or(|to| to.contains(net)))
    }

    /// Whether they carry what goes to a private prefix out of the tunnel.
    pub(super) fn carries(&self, net: &IpNet) -> bool {
        self.own
            || self.forwards_everything.is_some()
            || self.masquerades(net)
            || self.carried.iter().any(|(carried, _)| carried.contains(net))
    }

    /// Whether they let what comes out of the tunnel go anywhere, masqueraded, by the family of a prefix.
    pub(super) fn lets_out(&self, net: &IpNet) -> bool {
        let family = usize::from(net.addr().is_ipv6());
        self.masquerades.iter().any(|m| m.to.is_none() && m.families[family])
    }

    /// The same of either family.
    pub(super) fn lets_anything_out(&self) -> bool {
        self.masquerades.iter().any(|m| m.to.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &str) -> Hooks {
        Hooks::of(&crate::wgconf::read(&format!("[Interface]\n{lines}"), "f"), "wg0")
    }

    fn left_out(hooks: &Hooks) -> Vec<(&str, usize, bool)> {
        let left_out = hooks.left_out.iter();
        left_out.map(|l| (l.command.as_str(), l.place.1, l.does == Does::Drops)).collect()
    }

    #[test]
    fn the_usual_lines_are_understood() {
        let hooks = of(
            "PostUp = iptables -A FORWARD -i %i -j ACCEPT; iptables -t nat -A POSTROUTING -o br-6a -j MASQUERADE\n\
             PostDown = iptables -D FORWARD -i %i -j ACCEPT\nPreUp = sysctl -w net.ipv4.ip_forward=1\n",
        );
        assert!(hooks.forwards_everything.is_some() && hooks.left_out.is_empty());
        let link = Some("br-6a".into());
        let [only] = hooks.masquerades.as_slice() else { panic!("{hooks:?}") };
        assert!(
            only.link == link && !only.limited && only.to.is_none() && only.place == (Key::PostUp, 2, 10)
        );
        assert_eq!(hooks.only_link(), Some("br-6a"));
    }

    #[test]
    fn a_not_is_read() {
        for line in [
            "iptables -t nat -A POSTROUTING ! -o wg0 -s 10.8.0.0/24 -j MASQUERADE",
            "iptables -t nat -A POSTROUTING -s 10.8.0.0/24 -o ! %i -j MASQUERADE",
            "iptables -t nat -I POSTROUTING 1 -s 10.8.0.0/24 ! -o wg0 -m comment --comment 'x; y' -j MASQUERADE",
            "nft add rule ip nat postrouting oifname != \"wg0\" ip saddr 10.8.0.0/24 masquerade",
        ] {
            let hooks = of(&format!("PostUp = {line}\n"));
            let [only] = hooks.masquerades.as_slice() else { panic!("{line}: {hooks:?}") };
            assert!(only.link.is_none() && only.limited && only.to.is_none(), "{line}: {only:?}");
            assert!(hooks.left_out.is_empty() && hooks.lets_anything_out(), "{line}: {hooks:?}");
        }
    }

    #[test]
    fn into_the_tunnel_is_not_out_of_it() {
        for out in ["wg0", "%i", "wg1"] {
            let hooks = of(&format!("PostUp = iptables -t nat -A POSTROUTING -o {out} -j MASQUERADE\n"));
            assert!(hooks.masquerades.is_empty() && hooks.into_tunnel.is_some(), "{out}: {hooks:?}");
        }
    }

    #[test]
    fn what_is_lost_is_quoted_with_its_line() {
        let hooks = of("PostUp = sysctl -w net.ipv4.ip_forward=1\n\
             PostUp = iptables -A FORWARD -i wg0 -s 10.8.0.3 -j DROP\n\
             PostUp = iptables -A FORWARD -i wg0 -j ACCEPT\n\
             PostUp = /usr/local/bin/notify up\nPostDown = reboot\n");
        let expected = [
            ("iptables -A FORWARD -i wg0 -s 10.8.0.3 -j DROP", 3, true),
            ("/usr/local/bin/notify up", 5, false),
            ("reboot", 6, false),
        ];
        assert_eq!(left_out(&hooks), expected);
        assert!(hooks.forwards_everything.is_some());
        let hooks =
            of("PostUp = iptables -A FORWARD -i wg0 -s 10.8.0.0/24 -d 192.168.7.0/24 -o eth1 -j ACCEPT\n");
        assert_eq!(hooks.left_out.len(), 1);
        let net = "192.168.7.0/24".parse().unwrap();
        assert!(hooks.carries(&net) && hooks.link_of(&net) == Some("eth1") && !hooks.masquerades(&net));
    }

    #[test]
    fn what_a_lost_command_did_is_known() {
        let does = |line: &str| {
            let hooks = of(&format!("PostUp = {line}\n"));
            hooks.left_out.iter().map(|l| l.does.clone()).collect::<Vec<_>>()
        };
        for line in [
            "iptables -P FORWARD DROP",
            "nft add chain inet f forward '{ type filter hook forward priority 0; policy drop; }'",
            "nft 'add table inet f; add chain inet f x; add rule inet f x iifname wg0 drop'",
            "ufw route deny in on wg0 out on eth1",
            "ufw deny in on wg0",
            "firewall-cmd --direct --add-rule ipv4 filter FORWARD 0 -i wg0 -s 10.8.0.3 -j DROP",
            "firewall-cmd --add-rich-rule='rule family=ipv4 source address=10.8.0.3 reject'",
            "firewall-cmd --zone=drop --change-interface=wg0",
            "ip rule add from 10.8.0.3 prohibit",
            "ip route add blackhole 192.168.0.0/16",
            "ebtables -A FORWARD -i tap0 -j DROP",
            "for a in 10.8.0.3 10.8.0.4; do iptables -A FORWARD -s $a -j DROP; done",
        ] {
            let told: Vec<Does> = does(line).into_iter().filter(|d| *d != Does::Other).collect();
            assert_eq!(told, [Does::Drops], "{line}");
        }
        assert_eq!(does("iptables -I INPUT -p udp --dport 51820 -j ACCEPT"), [Does::Opens]);
        let line =
            "iptables -t nat -A PREROUTING -i eth0 -p tcp --dport 8080 -j DNAT --to-destination 10.8.0.2:80";
        assert_eq!(does(line), [Does::Leads { ports: vec!["tcp/8080".into()], to: "10.8.0.2:80".into() }]);
        let leads = |ports: &[&str], to: &str| {
            [Does::Leads { ports: ports.iter().map(ToString::to_string).collect(), to: to.into() }]
        };
        for (line, ports, to) in [
            (
                "iptables -t nat -A PREROUTING -p tcp -m multiport --dports 80,8443:8445 -j DNAT --to-destination 10.8.0.2",
                &["tcp/80", "tcp/8443-8445"][..],
                "10.8.0.2",
            ),
            (
                "nft add rule inet w pre iif eth0 tcp dport { 80, 443 } dnat ip to 10.8.0.2",
                &["tcp/80", "tcp/443"],
                "10.8.0.2",
            ),
            (
                "nft add rule ip nat pre udp dport 53 counter dnat to 10.8.0.3:5353",
                &["udp/53"],
                "10.8.0.3:5353",
            ),
            (
                "bash -c 'iptables -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.8.0.2:80'",
                &["tcp/80"],
                "10.8.0.2:80",
            ),
        ] {
            assert_eq!(does(line), leads(ports, to), "{line}");
        }
        // One port there for several here is no forward.
        let line = "iptables -t nat -A PREROUTING -p tcp --dport 80:90 -j DNAT --to-destination 10.8.0.2:80";
        assert_eq!(does(line), [Does::Other]);
        // What a line switches beside forwarding is lost with it.
        assert_eq!(does("sysctl -w net.ipv4.ip_forward=1 net.ipv4.conf.all.proxy_arp=1"), [Does::Other]);
        assert!(does("sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1").is_empty());
        // A table and a chain without rules do nothing.
        let line = "nft add table ip w; nft add chain ip w c {type nat hook postrouting priority srcnat\\; policy accept\\;}; \
                    nft add rule ip w c counter packets 0 bytes 0 masquerade";
        assert!(does(line).is_empty() && of(&format!("PostUp = {line}\n")).lets_anything_out());
    }

    #[test]
    fn a_link_that_is_let_through_to_is_known() {
        let hooks = of(
            "PostUp = iptables -A FORWARD -i %i -o eth1 -j ACCEPT; iptables -A FORWARD -i eth1 -o %i -j ACCEPT\n",
        );
        assert_eq!(hooks.only_link(), Some("eth1"));
        let hooks = of(
            "PostUp = iptables -A FORWARD -i %i -o eth1 -j ACCEPT; iptables -A FORWARD -i %i -o eth2 -j ACCEPT\n",
        );
        assert_eq!(hooks.only_link(), None);
    }

    #[test]
    fn a_line_that_names_what_is_ours_hides_nothing() {
        for line in [
            "iptables -A INPUT -i eth0 -j DROP; : wgrelay-q-%i",
            ": wgrelay-q-%i; iptables -A INPUT -i eth0 -j DROP",
            "iptables -A INPUT -i eth0 -m comment --comment wgrelay-q-%i -j DROP",
            "iptables -A INPUT -i eth0 -j DROP && echo 1 > /proc/sys/net/ipv4/conf/%i/forwarding",
            "printf %s 'iptables -A INPUT -j DROP' > /run/wgrelay-q-%i.sh; iptables -A INPUT -i eth0 -j DROP",
        ] {
            // Also beside a script, which the line does not call.
            for more in ["", "\n[Peer]\n\n#| post_up() {\n#| }\n"] {
                let hooks = of(&format!("PostUp = {line}\n{more}"));
                assert!(!hooks.own, "{line}");
                assert!(hooks.left_out.iter().any(|l| l.does == Does::Drops), "{line}: {hooks:?}");
            }
        }
    }

    #[test]
    fn a_script_of_an_export_is_read_and_a_changed_one_is_known() {
        let file = |change: &dyn Fn(String) -> String| {
            let lines = script::seal(vec![
                "post_up() {".into(),
                "    oifname != \"$i\" masquerade".into(),
                "}".into(),
            ]);
            let text: String = lines.iter().map(|line| format!("#| {line}\n")).collect();
            of(&format!("PostUp = {}\n[Peer]\n\n{}", script::call("post_up"), change(text)))
        };
        let hooks = file(&|text| text);
        assert!(hooks.own && hooks.lets_anything_out() && hooks.left_out.is_empty(), "{hooks:?}");
        assert_eq!(hooks.changed_script, None);
        let by_hand = file(&|text| text.replace("}", "    iptables -A INPUT -i wg0 -j DROP\n#| }"));
        assert_eq!(by_hand.changed_script.map(|(key, line, _)| (key, line)), Some((Key::PostUp, 2)));
        // A call of what is not there is no export's.
        let lost = file(&|_| String::new());
        assert!(!lost.own && lost.left_out.len() == 2, "{lost:?}");
    }

    #[test]
    fn other_programs_tell_as_well() {
        assert!(of("PostUp = firewall-cmd --zone=public --add-masquerade\n").lets_anything_out());
        assert!(of("PostUp = ufw route allow in on wg0 out on eth0\n").forwards_everything.is_some());
        let hooks = of(
            "PostUp = ip route add 192.168.7.0/24 via 10.0.0.1 dev eth1\nPostDown = ip route del 192.168.7.0/24\n",
        );
        assert!(hooks.carries(&"192.168.7.0/24".parse().unwrap()) && hooks.left_out.len() == 1);
        let hooks = of("PostUp = iptables -t nat -A POSTROUTING -d 192.168.7.0/24 -j MASQUERADE\n");
        assert!(!hooks.lets_anything_out() && hooks.masquerades(&"192.168.7.0/24".parse().unwrap()));
    }
}

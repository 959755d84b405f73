//! Peak memory of what stays running for a hub, beside wireguard-go, and of `up` itself; and the size of the program.
#![expect(clippy::disallowed_methods, reason = "a bench runs programs, reads clocks and writes files")]

#[expect(dead_code, reason = "it serves other benches as well")]
mod hub;
#[path = "../tests/rig/node.rs"]
#[expect(dead_code, reason = "the rig serves tests")]
mod node;
#[expect(dead_code, reason = "it serves other benches as well")]
mod side_by_side;
#[expect(dead_code, reason = "it serves other benches as well")]
mod two_hubs;

use hub::{Hub, INTERFACE};
use node::Node;
use side_by_side::table::Table;
use side_by_side::{Effort, print_machine, program};
use two_hubs::{backend, ours, theirs, up, wg_quick_up, wgrelay_exits, words};

fn main() {
    let effort = Effort::asked_for();
    print_machine();
    let title = format!("Peak resident memory ({} backend)", backend());
    let head = ["peers", "wgrelay, the agent", "wireguard-go", "wgrelay, up or status"];
    let mut table = Table::new(&title, &head);
    // From few to many: the kernel tells of children the largest so far.
    for &spokes in effort.pick(&[3, 1000, 5000][..], &[3][..]) {
        let hub = Hub::with_spokes(spokes);
        let (node, other_node) = (ours(&hub), theirs(&hub));
        up(&node);
        // No site can be reached, as nobody is there.
        wgrelay_exits(&node, 4, &["status", "--json"]);
        let commands = largest_child();
        let conf = hub.wg_quick().replacen("MTU", "Table = off\nMTU", 1);
        other_node.write(format!("/etc/wireguard/{INTERFACE}.conf"), &conf);
        wg_quick_up(&other_node);
        let count = |node: &Node| words(node, &["wg", "show", INTERFACE, "peers"]).stdout.lines().count();
        assert_eq!((count(&node), count(&other_node)), (spokes, spokes), "every spoke is a peer");
        let peak =
            |node: &Node, name: &str| match node.processes().iter().find(|(_, line)| line.contains(name)) {
                Some((pid, _)) => megabytes(peak_of(node, *pid)),
                None => "in the kernel".to_owned(),
            };
        table.row([
            spokes.to_string(),
            peak(&node, "wgrelay"),
            peak(&other_node, "wireguard-go"),
            megabytes(commands),
        ]);
    }
    table.print();
    let size = std::fs::metadata(program()).expect("the program is there").len();
    let mut table = Table::new("The program", &["file", "size"]);
    table.row(["wgrelay, as measured".to_owned(), megabytes(size / 1024)]);
    table.print();
}

/// Returns a process's peak resident memory, KiB (`VmHWM`, proc(5)).
fn peak_of(node: &Node, pid: u32) -> u64 {
    let status = words(node, &["cat", &format!("/proc/{pid}/status")]).stdout;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("a process has a peak");
    line.trim().trim_end_matches(" kB").parse().expect("the peak is a number")
}

/// Returns the peak of the largest command that has ended, KiB.
fn largest_child() -> u64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN);
    u64::try_from(usage.expect("the kernel tells").max_rss()).unwrap_or_default()
}

/// Writes KiB as MB.
#[expect(clippy::cast_precision_loss, reason = "memory is less than 2^52 KiB")]
fn megabytes(kib: u64) -> String {
    format!("{:.1} MB", kib as f64 * 1024.0 / 1e6)
}

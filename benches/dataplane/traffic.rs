//! What flows through a lab: iperf3's streams, and pings beside them.

use std::process::{Child, Command, Stdio};

use crate::lab::{Lab, eventually};

/// A kind of stream.
pub(crate) struct Stream {
    flags: Vec<String>,
    udp: bool,
}

/// What a measurement yields.
pub(crate) struct Outcome {
    /// Received, in Gbit/s.
    pub(crate) gigabits: f64,
    /// Part of the datagrams that were lost, 0 to 1.
    pub(crate) lost: f64,
}

impl Stream {
    pub(crate) fn tcp(flags: &[&str]) -> Self {
        Self { flags: flags.iter().map(ToString::to_string).collect(), udp: false }
    }

    /// Datagrams of this many bytes, as many as the sender can make.
    pub(crate) fn udp(bytes: usize) -> Self {
        let flags = ["-u", "-b", "0", "-l", &bytes.to_string()].map(String::from).to_vec();
        Self { flags, udp: true }
    }

    /// Sends from one node to another for some seconds.
    pub(crate) fn run(&self, lab: &Lab, from: usize, to: usize, seconds: u64) -> Outcome {
        let (server, client) = self.start(lab, from, to, seconds);
        let output = client.wait_with_output().expect("iperf3 ends");
        end(server);
        let text = String::from_utf8_lossy(&output.stdout);
        let report: serde_json::Value = serde_json::from_str(&text).expect("iperf3 prints JSON");
        assert!(output.status.success() && report["error"].is_null(), "iperf3: {}", report["error"]);
        let end = &report["end"];
        let rate = |sum: &serde_json::Value| sum["bits_per_second"].as_f64().unwrap_or(0.0) / 1e9;
        let outcome = if self.udp {
            // Of a UDP stream "sum" has the sender's rate and the receiver's losses.
            let lost = end["sum"]["lost_percent"].as_f64().expect("it counts") / 100.0;
            Outcome { gigabits: rate(&end["sum"]) * (1.0 - lost), lost }
        } else {
            let reverse = rate(&end["sum_received_bidir_reverse"]);
            Outcome { gigabits: rate(&end["sum_received"]) + reverse, lost: 0.0 }
        };
        assert!(outcome.gigabits > 0.0, "nothing arrived: {text}");
        outcome
    }

    fn start(&self, lab: &Lab, from: usize, to: usize, seconds: u64) -> (Child, Child) {
        let address = format!("10.99.0.{}", to + 1);
        let iperf = |node: usize| {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &lab.nodes[node].namespace, "iperf3"]);
            command.stdout(Stdio::piped()).stderr(Stdio::null());
            command
        };
        let server = iperf(to)
            .args(["-s", "-1", "-B", &address])
            .stdout(Stdio::null())
            .spawn()
            .expect("ip is installed");
        eventually("iperf3 listens", || !lab.run(to, "ss -Hltn sport = :5201").is_empty());
        let client = iperf(from)
            .args(["-J", "-c", &address, "-t", &seconds.to_string()])
            .args(&self.flags)
            .spawn()
            .expect("ip is installed");
        (server, client)
    }
}

fn end(mut server: Child) {
    let _ = server.kill();
    let _ = server.wait();
}

/// Pings the hub from spoke 1 beside a stream, and returns the round-trip times in milliseconds.
pub(crate) fn ping_beside(lab: &Lab, stream: &Stream, seconds: u64) -> Vec<f64> {
    let (server, client) = stream.start(lab, 1, 0, seconds + 1);
    // Past the stream's slow start.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let text = lab.run(1, &format!("ping -i 0.01 -c {} -W 2 10.99.0.1", seconds * 100));
    let output = client.wait_with_output().expect("iperf3 ends");
    end(server);
    assert!(output.status.success(), "iperf3 failed beside ping");
    let times: Vec<f64> =
        text.lines().filter_map(|line| line.split_once("time=")?.1.split(' ').next()?.parse().ok()).collect();
    assert!(!times.is_empty(), "no ping came back: {text}");
    times
}

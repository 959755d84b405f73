//! The way in that docs/cluster.md recommends, for real: an etcd that asks for certificates and for a user with a password.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::rig::node::{Node, Output, PLACE};
use crate::stage::{Stage, standing, until};

const URL: &str = "https://192.0.2.254:4379";

/// A certificate of that subject, signed by the authority there.
fn certificate(node: &Node, name: &str, subject: &str) {
    let script = format!(
        "cd {PLACE} && test -e ca.pem || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key \
           -out ca.pem -days 30 -subj /O=authority -addext basicConstraints=critical,CA:TRUE && \
         openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key -out {name}.csr -subj {subject} && \
         printf 'subjectAltName=IP:192.0.2.254\\nextendedKeyUsage=serverAuth,clientAuth\\n' > {name}.ext && \
         openssl x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out {name}.pem -extfile {name}.ext"
    );
    node.run(&["sh", "-c", &script]).ok();
}

#[test]
fn a_user_signs_in_over_tls_and_who_may_not_is_told() {
    let Some(stage) = Stage::possible() else { return };
    let eu = stage.relay(0);
    let node = &stage.relays[0];
    for (name, subject) in [("server", "/O=etcd"), ("relay", "/O=wgrelay"), ("named", "/CN=root")] {
        certificate(node, name, subject);
    }
    for file in ["ca.pem", "server.pem", "server.key", "relay.pem", "relay.key"] {
        stage.switch.write(format!("{PLACE}/{file}"), &node.read(format!("{PLACE}/{file}")));
    }
    let mut command = Command::new("etcd");
    command
        .args(["--data-dir", &format!("{PLACE}/etcd"), "--listen-client-urls", URL])
        .args(["--advertise-client-urls", URL, "--listen-peer-urls", "http://127.0.0.1:4380"])
        .args(["--client-cert-auth", "--trusted-ca-file", &format!("{PLACE}/ca.pem")])
        .args(["--cert-file", &format!("{PLACE}/server.pem"), "--key-file", &format!("{PLACE}/server.key")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut etcd = Ended(stage.switch.spawn(&mut command));
    let etcdctl = |words: &str| -> Output {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", URL, "--cacert", &format!("{PLACE}/ca.pem")]);
        command.args(["--cert", &format!("{PLACE}/relay.pem"), "--key", &format!("{PLACE}/relay.key")]);
        stage.switch.command(command.args(words.split(' ')))
    };
    until("etcd answers", || etcdctl("get nothing").code == Some(0));
    for words in [
        "user add root:of-root",
        "user grant-role root root",
        "role add wgrelay",
        "role grant-permission wgrelay readwrite --prefix /wgrelay/",
        "user add relays:of-relays",
        "user grant-role relays wgrelay",
        "auth enable",
    ] {
        etcdctl(words).ok();
    }

    let password = format!("{PLACE}/password");
    let secret = |text: &str| {
        node.write(&password, text);
        node.run(&["chmod", "600", &password]).ok();
    };
    secret("of-relays\n");
    let (ca, cert, key) =
        (format!("{PLACE}/ca.pem"), format!("{PLACE}/relay.pem"), format!("{PLACE}/relay.key"));
    let tls = ["--etcd", URL, "--ca", &ca, "--cert", &cert, "--key", &key];
    let user = ["--user", "relays", "--password-file", &password];
    eu.ok(&["init", "--profile", "road-warrior", "--endpoint", "192.0.2.1"]);
    let create = ["--node", "relay", "cluster", "create"];
    // Without the user, without a certificate: nothing, and this host is no member.
    let nobody = eu.call(&[&create[..], &tls].concat()).exits(1);
    assert!(nobody.stderr.contains("etcd refuses"), "{nobody}");
    let unproven = eu.call(&[&create[..], &tls[..4], &user].concat()).exits(1);
    assert!(unproven.stderr.contains("is not reached"), "{unproven}");
    eu.ok(&[&create[..], &tls, &user].concat());
    eu.ok(&["add", "tablet"]);
    let status = standing(&eu);
    assert_eq!(
        (&status["endpoints"][0]["reachable"], &status["revision"]),
        (&Value::Bool(true), &status["store_revision"])
    );
    assert!(eu.ok(&["history"]).contains("added tablet"));

    // What is wrong later is told, and nothing is changed.
    secret("guessed\n");
    let wrong = eu.call(&["add", "refused"]).exits(1);
    assert!(wrong.stderr.contains("relays may not sign in") && !wrong.stderr.contains("guessed"), "{wrong}");
    eu.call(&["cluster", "status"]).exits(4);
    secret("of-relays\n");
    node.run(&["sh", "-c", &format!("cd {PLACE} && cp named.pem relay.pem && cp named.key relay.key")]).ok();
    let named = eu.call(&["add", "refused"]).exits(1);
    assert!(named.stderr.contains("CommonName of client"), "{named}");
    assert!(!eu.ok(&["list"]).contains("refused"));
    let member = node.read(format!("{}/wg0/.cluster/member.json", eu.dir));
    assert!(member.contains("password") && !member.contains("of-relays"), "{member}");
    etcd.0.kill().expect("it is ours");
}

struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

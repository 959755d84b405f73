//! Devices of one's own: whoever may have some adds them, takes their files out and removes them, within his limit, and sees nothing
//! else. Whose a device is was seen to before: the table of routes says so (`Scope::Device`, `Scope::DeviceKeys`).

use serde_json::{Value, json};

use super::Web;
use super::ask::{Ask, Reply};
use super::caller::Caller;
use super::database::{Enrollment, Use, User};
use super::enroll::{self, HOURS};
use super::pages;
use super::procedure::{Procedure, Refused};
use super::sign_in::{self, own};
use super::view::{Device, List, ListedNode, Shown, Status, Waiting};
use crate::app::Change;

type Answer = Result<Reply, Refused>;

/// A link for a device of one's own is good for three days at most.
pub const MOST_HOURS: u64 = 72;

impl Web {
    /// Says whether a node is a device of this one's. Whoever has none asks nobody.
    pub(super) fn is_device_of(&self, caller: &Caller, node: &str) -> bool {
        let Caller::User(user, _) = caller else { return false };
        let keys = self.database.devices_of(user.id).unwrap_or_default();
        if keys.is_empty() {
            return false;
        }
        let shown = self.agent.call(&Procedure::Show { node: node.to_owned() });
        let shown = shown.ok().and_then(|shown| serde_json::from_value::<Shown>(shown).ok());
        shown.is_some_and(|shown| shown.role == "spoke" && keys.contains(&shown.public_key))
    }

    /// Keeps whose a device is when its keys are made anew: `change` does that.
    pub(super) fn keeping_owner<T>(
        &self,
        change: &Change,
        dry_run: bool,
        done: impl FnOnce() -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let Change::Rotate { name, .. } = change else { return done() };
        if dry_run {
            return done();
        }
        let key = || {
            let shown = self.agent.call(&Procedure::Show { node: name.clone() }).ok()?;
            Some(serde_json::from_value::<Shown>(shown).ok()?.public_key)
        };
        let before = key();
        let told = done()?;
        if let (Some(before), Some(after)) = (before, key()) {
            self.database.rekey_device(&before, &after)?;
        }
        Ok(told)
    }
}

/// Returns what a device of a user's is called: his name is before it, so that nobody takes a name that others may wait for.
fn node_of(user: &User, device: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let owner: String = user.name.chars().map(plain).collect();
    format!("{}-{device}", owner.trim_matches('-'))
}

/// Returns the nodes that are this one's, with what is known of their sessions.
fn mine(ask: &Ask<'_>, user: &User, list: &List) -> Result<Vec<Device>, Refused> {
    let keys = ask.web.database.devices_of(user.id)?;
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let status: Option<Status> = ask.call(&Procedure::Status).ok();
    let told = |node: &ListedNode| {
        let peers = status.iter().flat_map(|status| &status.peers);
        let peer = peers.into_iter().find(|peer| peer.public_key.to_string() == node.public_key);
        Device {
            name: node.name.clone(),
            platform: node.platform.clone(),
            address: node.address.clone(),
            address6: node.address6.clone(),
            enabled: node.enabled,
            active: node.is_active,
            expires: node.expires.clone(),
            public_key: node.public_key.clone(),
            health: peer.map(|peer| peer.health),
            handshake_age: peer.and_then(|peer| peer.handshake_age),
            rx_bytes: peer.map(|peer| peer.rx_bytes),
            tx_bytes: peer.map(|peer| peer.tx_bytes),
        }
    };
    let is_mine = |node: &&ListedNode| node.role == "spoke" && keys.contains(&node.public_key);
    Ok(list.nodes.iter().filter(is_mine).map(told).collect())
}

fn waiting(ask: &Ask<'_>, user: &User) -> Result<Vec<Waiting>, Refused> {
    let links = ask.web.database.enrollments(ask.now)?.into_iter();
    let own = links.filter(|link| link.owner == Some(user.id));
    Ok(own.map(|link| Waiting { node: link.node, platform: link.platform, expires: link.expires }).collect())
}

/// Changes the network for somebody who may do so within bounds; what comes to nothing is not counted.
fn within_bounds<T>(
    ask: &Ask<'_>,
    user: &User,
    done: impl FnOnce() -> Result<T, Refused>,
) -> Result<T, Refused> {
    let used = ask.web.database.use_up(Use::Change, &user.name, ask.now)?;
    done().inspect_err(|_| {
        // He has one less for a day, where the file cannot be written.
        let _ = ask.web.database.give_back(used);
    })
}

/// Refuses a key that a revision has for some node: after a `revert` that node would be whose device has the key.
///
/// # Errors
/// 409.
pub(super) fn is_new_key(ask: &Ask<'_>, public_key: &str) -> Result<(), Refused> {
    let told: Value = ask.call(&Procedure::KnownKey { public_key: public_key.to_owned() })?;
    if told["known"] == false {
        return Ok(());
    }
    Err(Refused::new(409, "this key is, or was, that of a node of this network", "make another key"))
}

/// Shows them.
pub fn show(ask: &Ask<'_>) -> Answer {
    shown(ask, None)
}

fn shown(ask: &Ask<'_>, made: Option<(&str, &str)>) -> Answer {
    let (user, _) = own(ask)?;
    let devices = mine(ask, user, &ask.call(&Procedure::List)?)?;
    Ok(Reply::page(pages::devices(&ask.frame, &devices, &waiting(ask, user)?, user.devices, made)))
}

/// Adds one, makes a link for one, or takes a link back.
pub fn change(ask: &Ask<'_>) -> Answer {
    let (user, _) = own(ask)?;
    match ask.fields.required("do") {
        "link" => {
            let (node, path) = within_bounds(ask, user, || link(ask, user))?;
            shown(ask, Some((&node, &path)))
        }
        "add" => {
            within_bounds(ask, user, || add(ask, user))?;
            Ok(Reply::to("/devices"))
        }
        "remove_link" => {
            let node = ask.field("name").unwrap_or_default();
            if !ask.web.database.remove_own_enrollment(user.id, node)? {
                return Err(Refused::new(404, "there is no such link of yours", "it was used, or has ended"));
            }
            Ok(Reply::to("/devices"))
        }
        _ => Err(Refused::new(400, "this is nothing that is done here", "")),
    }
}

/// Returns the name of a node that is to come, and the keys of all there are.
fn free_name(ask: &Ask<'_>, user: &User) -> Result<(String, Vec<String>), Refused> {
    let node = enroll::node_name(&node_of(user, ask.field("name").unwrap_or_default()))?;
    let list: List = ask.call(&Procedure::List)?;
    if list.nodes.iter().any(|known| known.name == node) {
        return Err(Refused::new(409, format!("there is a device {node} already"), "choose another name"));
    }
    Ok((node, list.nodes.into_iter().map(|node| node.public_key).collect()))
}

/// Makes a link for a device, whose key is made there; returns its node and the link as a path.
fn link(ask: &Ask<'_>, user: &User) -> Result<(String, String), Refused> {
    let platform = enroll::platform(ask)?;
    let hours = ask.fields.number("hours").unwrap_or(HOURS);
    if !(1..=MOST_HOURS).contains(&hours) {
        return Err(Refused::new(400, format!("a link is good for 1 to {MOST_HOURS} hours"), ""));
    }
    let (node, there) = free_name(ask, user)?;
    let asked = Enrollment {
        node: node.clone(),
        platform,
        maker: ask.caller.name(),
        expires: ask.now + hours * 3600,
        owner: Some(user.id),
    };
    let secret = ask.web.database.add_own_enrollment(user, &asked, &there, ask.now)?;
    Ok((node, ask.frame.url(&format!("/enroll?link={}", secret.as_str()))))
}

/// Adds a device whose keys are made here, or whose public key is given. Where nothing comes of it, its place is given back.
fn add(ask: &Ask<'_>, user: &User) -> Result<(String, bool), Refused> {
    let (platform, (node, there)) = (enroll::platform(ask)?, free_name(ask, user)?);
    let given = ask.field("public_key").map(enroll::public_key).transpose()?.map(|key| key.to_string());
    let (database, by) = (&ask.web.database, ask.caller.name());
    if let Some(key) = &given {
        let owner = database.owner_of(key)?;
        if owner.is_some_and(|owner| owner != user.name) {
            return Err(Refused::new(409, "a device with this key is somebody else's", "make another key"));
        }
        is_new_key(ask, key)?;
    }
    let place = database.reserve_device(user.id, &there, ask.now)?;
    let added = enroll::add_node(ask, &by, &node, &platform, given).and_then(|(is_quiet, revision)| {
        let shown: Shown = ask.call(&Procedure::Show { node: node.clone() })?;
        database.name_device(place, &shown.public_key)?;
        Ok(is_quiet && enroll::applied(ask, &by, &revision))
    });
    match added {
        Ok(is_applied) => Ok((node, is_applied)),
        Err(refused) => {
            database.release_device(place)?;
            Err(refused)
        }
    }
}

/// Shows the file of one, to whoever types his password again.
pub fn file(ask: &Ask<'_>) -> Answer {
    sign_in::spoke_file(ask, Use::OwnFile)
}

/// Removes one, and has this host forget it where nothing else waits.
pub fn remove(ask: &Ask<'_>) -> Answer {
    removed(ask)?;
    Ok(Reply::to("/devices"))
}

fn removed(ask: &Ask<'_>) -> Result<bool, Refused> {
    let (user, _) = own(ask)?;
    within_bounds(ask, user, || remove_node(ask))
}

fn remove_node(ask: &Ask<'_>) -> Result<bool, Refused> {
    let (name, by) = (ask.fields.required("node").to_owned(), ask.caller.name());
    let shown: Shown = ask.call(&Procedure::Show { node: name.clone() })?;
    let (is_quiet, revision) = enroll::changed_quietly(ask, &by, &Change::Remove { name })?;
    ask.web.database.give_device(&shown.public_key, None, ask.now)?;
    Ok(is_quiet && enroll::applied(ask, &by, &revision))
}

/// The same for programs that signed in as that person.
pub fn api_list(ask: &Ask<'_>) -> Answer {
    let (user, _) = own(ask)?;
    let devices = mine(ask, user, &ask.call(&Procedure::List)?)?;
    let links: Vec<Value> = waiting(ask, user)?
        .iter()
        .map(|link| json!({"node": link.node, "platform": link.platform, "expires": link.expires}))
        .collect();
    Ok(Reply::json(json!({"version": 1, "most": user.devices, "devices": devices, "links": links})))
}

/// One of them.
pub fn api_show(ask: &Ask<'_>) -> Answer {
    let (user, _) = own(ask)?;
    let devices = mine(ask, user, &ask.call(&Procedure::List)?)?;
    let found = devices.into_iter().find(|device| device.name == ask.fields.required("node"));
    let device = found.ok_or_else(|| Refused::new(404, "there is no such device", ""))?;
    Ok(Reply::json(json!({"version": 1, "device": device})))
}

/// Adds one.
pub fn api_add(ask: &Ask<'_>) -> Answer {
    let (user, _) = own(ask)?;
    let (node, is_applied) = within_bounds(ask, user, || add(ask, user))?;
    Ok(Reply::json(json!({"version": 1, "node": node, "applied": is_applied})))
}

/// Makes a link for one.
pub fn api_link(ask: &Ask<'_>) -> Answer {
    let (user, _) = own(ask)?;
    let (node, path) = within_bounds(ask, user, || link(ask, user))?;
    Ok(Reply::json(json!({"version": 1, "node": node, "path": path})))
}

/// The file of one, and its QR code.
pub fn api_export(ask: &Ask<'_>) -> Answer {
    let (user, _) = own(ask)?;
    ask.web.database.use_up(Use::OwnFile, &user.name, ask.now)?;
    let node = ask.fields.required("node").to_owned();
    Ok(Reply::json(ask.web.agent.call(&Procedure::Export { by: user.name.clone(), node })?))
}

/// Removes one.
pub fn api_remove(ask: &Ask<'_>) -> Answer {
    let is_applied = removed(ask)?;
    Ok(Reply::json(json!({"version": 1, "node": ask.fields.required("node"), "applied": is_applied})))
}

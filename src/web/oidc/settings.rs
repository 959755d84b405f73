//! What whoever starts the page says of a provider: where it is, what this page is called there, and which of its groups may what.

use std::collections::BTreeMap;
use std::net::IpAddr;

use zeroize::Zeroizing;

use crate::web::database::role_of;
use crate::web::notify::{Scheme, Url};
use crate::web::procedure::Refused;
use crate::web::view::Role;

/// As typed.
#[derive(Debug, Clone, Default)]
pub struct Given<'a> {
    /// The issuer.
    pub issuer: &'a str,
    /// What this page is called there.
    pub client: Option<&'a str>,
    /// What is asked for besides `openid` and `profile`.
    pub scopes: &'a [String],
    /// The claim that has somebody's groups.
    pub groups_claim: Option<&'a str>,
    /// Each as `GROUP=ROLE`.
    pub roles: &'a [String],
    /// What whoever is in none of these may; unset: he does not get in.
    pub default_role: Option<&'a str>,
    /// What the provider is called on the page.
    pub label: Option<&'a str>,
}

/// What is known of a provider before it is asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The issuer, letter for letter.
    pub issuer: String,
    /// The same, taken apart.
    pub url: Url,
    /// What this page is called there.
    pub client: String,
    /// What proves that it is this page; `None`: PKCE alone does.
    pub secret: Option<ClientSecret>,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// The claim that has somebody's groups.
    pub groups_claim: String,
    /// What is called how on the page.
    pub label: String,
    roles: BTreeMap<String, Role>,
    default_role: Option<Role>,
}

/// What proves to the provider that it is this page.
#[derive(Clone)]
pub struct ClientSecret(pub Zeroizing<String>);

impl std::fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

/// Says whether a host is this one by its name: what goes there in clear stays here.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

impl Settings {
    /// Reads them; the secret is read elsewhere.
    ///
    /// # Errors
    /// One makes no sense, or nobody would get in.
    pub fn read(given: &Given<'_>) -> Result<Self, Refused> {
        let no = |what: String, hint: &str| Err(Refused::new(400, what, hint));
        let Given { issuer, .. } = *given;
        let example =
            "such as https://id.example.com/realms/home, as the provider's own discovery document has it";
        let Ok(url) = Url::read(issuer) else {
            return no(format!("--oidc {issuer:?}: this is no issuer"), example);
        };
        let is_safe = match url.scheme {
            Scheme::Https => true,
            Scheme::Http => is_loopback(&url.host),
            Scheme::Smtp | Scheme::Smtps => false,
        };
        if !is_safe {
            return no(format!("--oidc {issuer:?}: an issuer is https, or http on this host"), example);
        }
        if issuer.contains(['?', '#']) {
            return no(format!("--oidc {issuer:?}: an issuer has no query"), example);
        }
        let Some(client) = given.client.filter(|client| !client.is_empty()) else {
            return no("--oidc needs --oidc-client".into(), "what this page is called at the provider");
        };
        let mut roles = BTreeMap::new();
        for typed in given.roles {
            let (group, role) = typed.rsplit_once('=').unwrap_or((typed, ""));
            let Some(role) = role_of(role).filter(|_| !group.is_empty()) else {
                let what = format!("--oidc-role {typed:?}: this is no GROUP=ROLE");
                return no(what, "a role is owner, viewer, operator or admin");
            };
            if roles.insert(group.to_owned(), role).is_some() {
                return no(format!("--oidc-role: {group} is given twice"), "");
            }
        }
        let default_role = match given.default_role {
            None => None,
            // Nobody is given what others could lose by it for being in no group.
            Some(role) => match role_of(role) {
                Some(role @ (Role::Owner | Role::Viewer)) => Some(role),
                _ => {
                    let what =
                        format!("--oidc-default-role {role:?}: whoever is in no group may look at most");
                    return no(what, "viewer, or owner of devices");
                }
            },
        };
        if roles.is_empty() && default_role.is_none() {
            return no(
                "nobody could sign in so: no group has a role".into(),
                "--oidc-role GROUP=ROLE, or --oidc-default-role viewer",
            );
        }
        let is_word = |text: &String| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if let Some(scope) = given.scopes.iter().find(|scope| !is_word(scope)) {
            return no(format!("--oidc-scope {scope:?}: this is no scope"), "one word, such as groups");
        }
        let mut scopes = vec!["openid".to_owned(), "profile".into()];
        scopes.extend(given.scopes.iter().filter(|one| *one != "openid" && *one != "profile").cloned());
        Ok(Self {
            issuer: issuer.to_owned(),
            label: given.label.unwrap_or(&url.host).to_owned(),
            url,
            client: client.to_owned(),
            secret: None,
            scopes,
            groups_claim: given.groups_claim.unwrap_or("groups").to_owned(),
            roles,
            default_role,
        })
    }

    /// Says what whoever is in these groups may: the most that one of them gives; `None`: he does not get in.
    pub fn role(&self, groups: &[String]) -> Option<Role> {
        groups.iter().filter_map(|group| self.roles.get(group)).max().copied().or(self.default_role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given<'a>(issuer: &'a str, roles: &'a [String]) -> Given<'a> {
        Given { issuer, client: Some("wgrelay"), roles, ..Given::default() }
    }

    #[test]
    fn nobody_is_let_in_or_made_admin_by_accident() {
        let roles = ["wg-admins=admin".to_owned(), "ops=operator".into(), "a=b=viewer".into()];
        let settings = Settings::read(&given("https://id.example", &roles)).unwrap();
        let role = |groups: &[&str]| {
            settings.role(&groups.iter().map(|group| (*group).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(role(&["ops", "wg-admins", "x"]), Some(Role::Admin));
        assert_eq!((role(&["ops"]), role(&["a=b"])), (Some(Role::Operator), Some(Role::Viewer)));
        for none in [&[][..], &["WG-ADMINS"], &["wg-admins "], &["admin"], &["wg-admins,ops"], &["*"], &[""]]
        {
            assert_eq!(role(none), None, "{none:?}");
        }
        let with =
            |default_role| Given { default_role: Some(default_role), ..given("https://id.example", &[]) };
        assert_eq!(Settings::read(&with("viewer")).unwrap().role(&[]), Some(Role::Viewer));
        for role in ["admin", "operator", "", "none"] {
            assert!(Settings::read(&with(role)).is_err(), "{role}");
        }
        assert!(Settings::read(&given("https://id.example", &[])).is_err(), "nobody would get in");
        for bad in ["admin", "=admin", "x=root", "x="] {
            assert!(Settings::read(&given("https://id.example", &[bad.to_owned()])).is_err(), "{bad}");
        }
        assert!(
            Settings::read(&given("https://id.example", &["x=viewer".into(), "x=admin".into()])).is_err()
        );
    }

    #[test]
    fn an_issuer_is_https_or_on_this_host() {
        let roles = ["x=viewer".to_owned()];
        for good in [
            "https://id.example/realms/x",
            "http://127.0.0.1:3000",
            "http://localhost:1/oidc",
            "http://[::1]:3000",
        ] {
            assert!(Settings::read(&given(good, &roles)).is_ok(), "{good}");
        }
        for bad in [
            "http://id.example",
            "http://127.0.0.1.attacker.example",
            "http://10.0.0.1:3000",
            "https://id.example?x=1",
            "smtps://id.example",
            "https://anna@id.example",
            "",
        ] {
            assert!(Settings::read(&given(bad, &roles)).is_err(), "{bad}");
        }
        let no_client = Given { client: None, ..given("https://id.example", &roles) };
        assert!(Settings::read(&no_client).is_err());
    }
}

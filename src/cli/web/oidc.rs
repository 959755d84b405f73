//! `web --oidc …`: the provider by which people sign in, as it is typed.

use std::path::PathBuf;

use clap::Args;

use crate::cli::fault::Fault;
use crate::web::oidc::{Given, Provider, Settings};
use crate::web::server::{Asking, client_secret};

/// The provider by which people sign in
#[derive(Debug, Args)]
pub struct OidcArgs {
    /// People sign in by that provider of OpenID Connect, too: its issuer, as its discovery document has it
    #[arg(long, value_name = "URL", requires = "oidc_client")]
    pub oidc: Option<String>,
    /// What the page is called at the provider
    #[arg(long, value_name = "ID", requires = "oidc")]
    pub oidc_client: Option<String>,
    /// A file with the secret that the provider gave for it; without it, PKCE alone
    #[arg(long, value_name = "FILE", requires = "oidc")]
    pub oidc_secret: Option<PathBuf>,
    /// Whoever is in that group there may that: owner, viewer, operator, admin
    #[arg(long, value_name = "GROUP=ROLE", requires = "oidc")]
    pub oidc_role: Vec<String>,
    /// What whoever is in no such group may: viewer or owner; without it, he does not get in
    #[arg(long, value_name = "ROLE", requires = "oidc")]
    pub oidc_default_role: Option<String>,
    /// The claim that has the groups, `realm_access.roles` being one within another [default: groups]
    #[arg(long, value_name = "CLAIM", requires = "oidc")]
    pub oidc_groups_claim: Option<String>,
    /// What is asked for besides openid and profile
    #[arg(long, value_name = "SCOPE", requires = "oidc")]
    pub oidc_scope: Vec<String>,
    /// Certificates to trust at the provider, besides the system's, as PEM
    #[arg(long, value_name = "FILE", requires = "oidc")]
    pub oidc_ca: Option<PathBuf>,
    /// What the provider is called on the page [default: its host]
    #[arg(long, value_name = "NAME", requires = "oidc")]
    pub oidc_label: Option<String>,
}

impl OidcArgs {
    /// Reads what is typed; `None`: there is no provider.
    pub(super) fn settings(&self) -> Result<Option<Settings>, Fault> {
        let Some(issuer) = &self.oidc else { return Ok(None) };
        let settings = Settings::read(&Given {
            issuer,
            client: self.oidc_client.as_deref(),
            scopes: &self.oidc_scope,
            groups_claim: self.oidc_groups_claim.as_deref(),
            roles: &self.oidc_role,
            default_role: self.oidc_default_role.as_deref(),
            label: self.oidc_label.as_deref(),
        })?;
        Ok(Some(settings))
    }

    /// Puts the provider together, as the account that speaks HTTP.
    pub(super) fn provider(&self) -> Result<Option<Provider>, Fault> {
        let Some(mut settings) = self.settings()? else { return Ok(None) };
        settings.secret = self.oidc_secret.as_deref().map(client_secret).transpose()?;
        let asking = Asking::new(&settings, self.oidc_ca.as_deref())?;
        Ok(Some(Provider::new(settings, Box::new(asking))))
    }

    /// Says it again, for the half that speaks HTTP: paths, and no secret.
    pub(super) fn arguments(&self) -> Result<Vec<String>, Fault> {
        let one = |option: &str, text: &Option<String>| {
            text.iter().flat_map(|text| [option.to_owned(), text.clone()]).collect::<Vec<_>>()
        };
        let all = |option: &str, texts: &[String]| {
            texts.iter().flat_map(|text| [option.to_owned(), text.clone()]).collect::<Vec<_>>()
        };
        let mut words = one("--oidc", &self.oidc);
        words.extend(one("--oidc-client", &self.oidc_client));
        words.extend(all("--oidc-role", &self.oidc_role));
        words.extend(one("--oidc-default-role", &self.oidc_default_role));
        words.extend(one("--oidc-groups-claim", &self.oidc_groups_claim));
        words.extend(all("--oidc-scope", &self.oidc_scope));
        words.extend(one("--oidc-label", &self.oidc_label));
        for (option, file) in [("--oidc-secret", &self.oidc_secret), ("--oidc-ca", &self.oidc_ca)] {
            if let Some(file) = file {
                let file =
                    std::path::absolute(file).map_err(|e| Fault::failed(format!("{option}: {e}"), ""))?;
                words.extend([option.to_owned(), file.display().to_string()]);
            }
        }
        Ok(words)
    }
}

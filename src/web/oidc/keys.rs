//! Whether a token was signed by a provider: JWS (RFC 7515) in its compact form, by keys of a set (RFC 7517) and algorithms of a list.
//! What the token says of how to look at it counts only within that list: no `none`, and no secret that both sides have.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use serde_json::Value;

/// So long may a token be, and so many keys a set have.
const TOKEN: usize = 64 << 10;
const KEYS: usize = 100;

/// Which key, and how it is checked.
enum Way {
    Rsa(&'static RsaParameters),
    /// Curve, bytes of a coordinate, and how.
    Curve(&'static str, usize, &'static dyn VerificationAlgorithm),
    Edwards,
}

/// The algorithms that count.
fn way(name: &str) -> Option<Way> {
    Some(match name {
        "RS256" => Way::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        "RS384" => Way::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        "RS512" => Way::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        "PS256" => Way::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
        "PS384" => Way::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
        "PS512" => Way::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
        "ES256" => Way::Curve("P-256", 32, &signature::ECDSA_P256_SHA256_FIXED),
        "ES384" => Way::Curve("P-384", 48, &signature::ECDSA_P384_SHA384_FIXED),
        "EdDSA" => Way::Edwards,
        _ => return None,
    })
}

/// A key as it comes.
#[derive(Debug, Clone, Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a provider.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys(Vec<Key>);

/// Why a token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Untrusted {
    /// It names a key that is not among these: the provider may have new ones.
    UnknownKey,
    /// It is not believed, whatever keys there are.
    Never(&'static str),
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

impl Keys {
    /// Reads a set; keys that are of no use here are left out.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(bytes).map_err(|_| "the provider's keys are no set of keys")?;
        let keys = set.keys.into_iter().take(KEYS).filter_map(|key| serde_json::from_value(key).ok());
        Ok(Self(keys.collect()))
    }

    /// Returns what a token says, where one of these keys signed it.
    ///
    /// # Errors
    /// It is not believed.
    pub(super) fn verified(&self, token: &str) -> Result<Value, Untrusted> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            kid: Option<String>,
            crit: Option<Value>,
        }
        let never = |why| Untrusted::Never(why);
        let no_token = never("the ID token is none");
        if token.len() > TOKEN {
            return Err(no_token);
        }
        let parts: Vec<&str> = token.split('.').collect();
        let [head, claims, signed] = parts.as_slice() else { return Err(no_token) };
        let header: Header =
            decoded(head).and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or(no_token)?;
        let way = way(&header.alg).ok_or(never("the ID token is signed in a way that does not count"))?;
        if header.crit.is_some() {
            return Err(never("the ID token wants what is not known here"));
        }
        let signature = decoded(signed).ok_or(no_token)?;
        let message = format!("{head}.{claims}");
        let fits =
            |key: &&Key| key.fits(&way, &header.alg) && (header.kid.is_none() || key.kid == header.kid);
        let mut fitting = self.0.iter().filter(fits).peekable();
        if fitting.peek().is_none() {
            return Err(Untrusted::UnknownKey);
        }
        if !fitting.any(|key| key.signed(&way, message.as_bytes(), &signature)) {
            return Err(never("the ID token is not signed by the provider"));
        }
        decoded(claims).and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or(no_token)
    }
}

impl Key {
    fn fits(&self, way: &Way, alg: &str) -> bool {
        let kind = match way {
            Way::Rsa(_) => self.kty == "RSA",
            Way::Curve(curve, ..) => self.kty == "EC" && self.crv.as_deref() == Some(curve),
            Way::Edwards => self.kty == "OKP" && self.crv.as_deref() == Some("Ed25519"),
        };
        kind && self.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && self.alg.as_deref().is_none_or(|own| own == alg)
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"))
    }

    fn signed(&self, way: &Way, message: &[u8], signature: &[u8]) -> bool {
        let part = |text: &Option<String>| text.as_deref().and_then(decoded);
        let checked = || match way {
            Way::Rsa(how) => {
                let key = RsaPublicKeyComponents { n: part(&self.n)?, e: part(&self.e)? };
                key.verify(how, message, signature).ok()
            }
            Way::Curve(_, bytes, how) => {
                let (x, y) = (part(&self.x)?, part(&self.y)?);
                if x.len() != *bytes || y.len() != *bytes {
                    return None;
                }
                let point = [&[4][..], &x, &y].concat();
                UnparsedPublicKey::new(*how, point).verify(message, signature).ok()
            }
            Way::Edwards => {
                UnparsedPublicKey::new(&signature::ED25519, part(&self.x)?).verify(message, signature).ok()
            }
        };
        checked().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 7515, A.2 and A.3, and of RFC 8037, A.4.
    const RSA: &str = r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#;
    const RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const EC_TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

    fn set(keys: &[&str]) -> Keys {
        Keys::read(format!("{{\"keys\":[{}]}}", keys.join(",")).as_bytes()).unwrap()
    }

    #[test]
    fn the_examples_of_the_specification_are_believed_and_nothing_that_differs_in_a_bit() {
        let both = set(&[RSA, EC, r#"{"kty":"oct","k":"AAAA"}"#, "{}"]);
        for token in [RSA_TOKEN, EC_TOKEN] {
            assert_eq!(both.verified(token).unwrap()["iss"], "joe");
            let at = token.rfind('.').unwrap() + 5;
            let other = if token.as_bytes()[at] == b'A' { 'B' } else { 'A' };
            let broken = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            assert!(matches!(both.verified(&broken), Err(Untrusted::Never(_))), "{broken}");
            // Other words under the same signature.
            let parts: Vec<&str> = token.split('.').collect();
            let claims = URL_SAFE_NO_PAD.encode(r#"{"iss":"joe","admin":true}"#);
            let forged = format!("{}.{claims}.{}", parts[0], parts[2]);
            assert!(matches!(both.verified(&forged), Err(Untrusted::Never(_))));
        }
        assert_eq!(set(&[EC]).verified(RSA_TOKEN), Err(Untrusted::UnknownKey));
        assert_eq!(set(&[]).verified(EC_TOKEN), Err(Untrusted::UnknownKey));
    }

    #[test]
    fn a_key_is_for_what_it_is_for() {
        let with = |more: &str| set(&[&EC.replace("\"kty\"", &format!("{more},\"kty\""))]);
        for good in [r#""use":"sig""#, r#""alg":"ES256""#, r#""key_ops":["verify"]"#, r#""kid":"any""#] {
            assert!(with(good).verified(EC_TOKEN).is_ok(), "{good}");
        }
        for bad in [r#""use":"enc""#, r#""alg":"ES384""#, r#""key_ops":["encrypt"]"#] {
            assert_eq!(with(bad).verified(EC_TOKEN), Err(Untrusted::UnknownKey), "{bad}");
        }
    }

    #[test]
    fn what_a_token_says_of_how_to_look_at_it_opens_nothing() {
        let keys = set(&[RSA, EC]);
        let claims = EC_TOKEN.split('.').nth(1).unwrap();
        let signed = |head: &str, key: &[u8]| {
            let message = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(head));
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
            let signature = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, message.as_bytes()));
            format!("{message}.{signature}")
        };
        for head in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":""}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"hs256"}"#,
            r#"{"alg":["RS256"]}"#,
            r#"{"alg":"ES256","crit":["exp"]}"#,
            r#"{"alg":"ES256","jwk":{"kty":"EC"}}"#,
            "{}",
            "",
        ] {
            // With each public key as the secret, and with nothing.
            for key in [
                RSA.as_bytes(),
                EC.as_bytes(),
                &decoded("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU").unwrap(),
                b"",
            ] {
                assert!(matches!(keys.verified(&signed(head, key)), Err(Untrusted::Never(_))), "{head}");
            }
            let bare = format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(head));
            assert!(matches!(keys.verified(&bare), Err(Untrusted::Never(_))), "{head}");
        }
        for no_token in [
            "",
            ".",
            "..",
            "a.b.c",
            "a.b.c.d",
            &format!("{EC_TOKEN}.x"),
            &format!("{EC_TOKEN}="),
            &"x".repeat(TOKEN + 1),
        ] {
            assert!(keys.verified(no_token).is_err(), "{no_token:.40}");
        }
    }
}

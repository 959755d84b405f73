//! The language of the pages: what was chosen on one holds for the next.

use wgrelay::web::view::Role;

use crate::rig::{Rig, Who, body, header, with};

fn is_chinese(outgoing: &wgrelay::web::Outgoing) -> bool {
    body(outgoing).contains("<html lang=\"zh\">")
}

#[test]
fn what_was_chosen_on_a_page_holds_on_the_next() {
    for scheme in ["http", "https"] {
        let rig = Rig::at(scheme);
        let who = rig.signed_in("anna", Role::Viewer);
        assert!(!is_chinese(&rig.get(&who, "/matrix")));
        let chosen = rig.get(&who, "/matrix?show=blocked&lang=zh");
        assert!(is_chinese(&chosen));
        // Its switch leads back to the same page.
        assert!(body(&chosen).contains("href=\"?show=blocked&amp;lang=en\""), "{}", body(&chosen));
        let cookie = header(&chosen, "set-cookie").unwrap();
        for part in ["wgrelay-lang=zh; ", "SameSite=Lax", "HttpOnly", "Path=/", "Max-Age="] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert_eq!(cookie.contains("; Secure"), scheme == "https");
        let own =
            format!("{}={}", rig.web.cookie_name(Some(crate::rig::HOST)), who.cookie.as_deref().unwrap());
        let later = |cookies: &str, url: &str| {
            let asked = rig.request(&who, "GET", url, b"");
            rig.send(&with(asked, "cookie", Some(&format!("{own}; {cookies}"))))
        };
        assert!(is_chinese(&later("wgrelay-lang=zh", "/nodes")));
        assert!(header(&later("wgrelay-lang=zh", "/nodes"), "set-cookie").is_none());
        assert!(!is_chinese(&later("wgrelay-lang=zh", "/nodes?lang=en")), "another choice goes before");
        // What is no language chooses nothing, and is not given back.
        for none in ["fr", "zh%0d%0aSet-Cookie:%20x=y", ""] {
            let answer = rig.get(&who, &format!("/nodes?lang={none}"));
            assert!(!is_chinese(&answer) && header(&answer, "set-cookie").is_none(), "{none}");
        }
        assert!(!is_chinese(&later("wgrelay-lang=<script>", "/nodes")));
    }
}

#[test]
fn a_browser_that_prefers_one_gets_it_until_another_is_chosen() {
    let rig = Rig::new();
    let asked = |url: &str| rig.request(&Who::default(), "GET", url, b"");
    let prefers = |tags: &str| rig.send(&with(asked("/login"), "accept-language", Some(tags)));
    assert!(is_chinese(&prefers("zh-CN,zh;q=0.9,en;q=0.8")));
    assert!(!is_chinese(&prefers("en;q=0.9,zh;q=0.1")));
    assert!(!is_chinese(&prefers("fr")));
    let both = with(asked("/login"), "accept-language", Some("zh"));
    assert!(!is_chinese(&rig.send(&with(both, "cookie", Some("wgrelay-lang=en")))));
}

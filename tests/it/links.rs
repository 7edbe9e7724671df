//! Audiences by address: the page, its button, uses, and what ends them.

use serde_json::Value;

use crate::exports::shop;
use crate::landing_files::TinyShop;
use crate::serving::{Serving, user};

const NOW: (&str, &str) = ("ALLUVIAL_NOW", "2026-04-02T06:00:00Z");

/// Makes a link, and gives its path.
fn link(shop: &TinyShop, more: &[&str]) -> String {
    let ran = shop.run(&[&["link", "everyone", "--format", "email", "--report", "json"], more].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let url = told["url"].as_str().unwrap();
    assert!(url.starts_with("http://127.0.0.1:8080/l/"), "{url}");
    url["http://127.0.0.1:8080".len()..].to_owned()
}

#[test]
fn a_page_is_looked_at_freely_and_its_button_delivers() {
    let shop = shop();
    user(&shop, "reader", &[]);
    user(&shop, "maria", &["--role", "marketer"]);
    let path = link(&shop, &["--uses", "2"]);
    let server = Serving::with(&shop, &[NOW]);
    for method in ["GET", "HEAD", "GET", "GET"] {
        let page = server.ask(method, &path, &[]);
        assert_eq!(page.status, 200, "{}", page.text());
        assert_eq!(page.header("content-type").as_deref(), Some("text/html; charset=utf-8"));
        assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
        if method == "GET" {
            let text = page.text();
            assert!(text.contains("<h1>everyone</h1>") && text.contains("<form method=\"post\">"), "{text}");
            assert!(text.contains("width=device-width") && !text.contains("src=") && !text.contains("href="), "{text}");
        }
    }
    assert_eq!(shop.one("SELECT count(*) FROM exports"), "0", "whoever looks at it pulls nothing");
    for _ in 0..2 {
        let file = server.ask("POST", &path, &[]);
        assert_eq!((file.status, file.whole), (200, true), "{}", file.text());
        assert!(file.text().contains("Ann@Example.com") && !file.text().contains("bob.b@gmail.com"));
        assert_eq!(
            file.header("content-disposition").as_deref(),
            Some("attachment; filename=\"everyone-2026-03-01.csv\"")
        );
    }
    let over = server.ask("POST", &path, &[]);
    assert_eq!((over.status, over.text().contains("as often as it may be")), (410, true));
    assert_eq!(server.ask("GET", &path, &[]).status, 410);
    let id = &path["/l/".len()..][..32];
    assert_eq!(
        shop.rows("SELECT requested_by, destination, format, count(*) FROM exports GROUP BY 1, 2, 3"),
        [format!("maria link:{id} email 2")]
    );
    let listed: Value = serde_json::from_str(&shop.run(&["link", "list", "--format", "json"]).stdout).unwrap();
    assert_eq!(
        (&listed[0]["id"], &listed[0]["used"], &listed[0]["state"]),
        (&Value::from(id), &Value::from(2), &Value::from("used up"))
    );
    assert!(!server.said().contains(&path["/l/".len()..]), "an address is no word for a log");
}

#[test]
fn a_direct_link_downloads_and_what_ends_a_link_ends_it() {
    let shop = shop();
    user(&shop, "maria", &["--role", "marketer"]);
    let direct = link(&shop, &["--direct", "--uses", "1"]);
    let revoked = link(&shop, &[]);
    let other = link(&shop, &["--expires", "1h"]);
    let server = Serving::with(&shop, &[NOW]);
    assert_eq!(server.ask("HEAD", &direct, &[]).status, 200);
    let file = server.ask("GET", &direct, &[]);
    assert!(file.status == 200 && file.text().contains("Ann@Example.com"), "{}", file.text());
    assert_eq!(server.ask("GET", &direct, &[]).status, 410, "it could be used once");
    // An address is bound to all that it says.
    let digit = if revoked.ends_with('0') { '1' } else { '0' };
    let forged = format!("{}{digit}", &revoked[..revoked.len() - 1]);
    for wrong in [forged.as_str(), "/l/", "/l/..%2Fkey", "/l/0"] {
        let answer = server.ask("POST", wrong, &[]);
        assert_eq!(answer.status, 404, "{wrong}");
    }
    assert_eq!(server.ask("GET", &other, &[]).status, 410, "it has expired");
    assert_eq!(server.ask("GET", &revoked, &[]).status, 200);
    assert_eq!(shop.run(&["link", "revoke", &revoked["/l/".len()..][..8]]).code, 0);
    assert_eq!(server.ask("GET", &revoked, &[]).status, 404);
    let last = link(&shop, &[]);
    assert_eq!(server.ask("GET", &last, &[]).status, 200);
    assert_eq!(shop.run(&["user", "revoke", "maria"]).code, 0);
    assert_eq!(server.ask("POST", &last, &[]).status, 404, "it ended with its user");
    user(&shop, "maria", &["--role", "marketer"]);
    assert_eq!(server.ask("POST", &last, &[]).status, 404, "another of the name is another");
    assert_eq!(shop.one("SELECT count(*) FROM exports"), "1");
}

#[test]
fn a_link_is_made_for_what_there_is_and_by_whom_it_may_be() {
    let shop = shop();
    let told = |arguments: &[&str], code: i32, words: &[&str]| {
        let ran = shop.run(&[&["link"], arguments].concat());
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.stderr);
        for word in words {
            assert!(ran.stderr.contains(word), "`{word}` is not said: {}", ran.stderr);
        }
    };
    told(&["everyone", "--format", "email"], 2, &["link.no_user", "alluvial user add"]);
    user(&shop, "reader", &[]);
    user(&shop, "maria", &["--role", "marketer"]);
    user(&shop, "partner", &["--role", "marketer", "--segment", "danes", "--export-format", "email"]);
    told(&["everyone"], 2, &["audience.no_format"]);
    told(&["everyon", "--format", "email"], 1, &["segment.not_published", "did you mean `everyone`?"]);
    told(&["everyone", "--format", "emial"], 2, &["audience.unknown_format", "did you mean `email`?"]);
    told(&["danes", "--format", "email"], 2, &["link.which_user", "`maria`, `partner`"]);
    told(&["everyone", "--format", "email", "--user", "reader"], 2, &["link.not_allowed"]);
    told(&["everyone", "--format", "email", "--user", "partner"], 2, &["link.not_allowed", "everyone"]);
    told(&["everyone", "--format", "email", "--user", "nobody"], 1, &["serve.no_such_user"]);
    told(&["everyone", "--format", "email", "--expires", "2000d"], 2, &["366d"]);
    told(&["revoke", "ffff"], 1, &["serve.no_such_link"]);
    shop.settings("[serve]\npublic_url = \"https://audiences.example.com/\"");
    let ran = shop.run(&["link", "everyone", "--format", "email", "--user", "maria"]);
    assert_eq!((ran.code, ran.stdout.starts_with("https://audiences.example.com/l/")), (0, true), "{}", ran.stdout);
    assert!(ran.stderr.contains("as often as anybody likes until 2026-04-08"), "{}", ran.stderr);
    shop.settings("[serve]\nhttp = \"off\"");
    told(&["everyone", "--format", "email", "--user", "maria"], 1, &["link.no_address"]);
}

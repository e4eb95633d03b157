use serde_json::{Value, json};

use super::*;

fn secret(password: &str) -> Secret {
    Secret::parse(&Secret::hash(password, [7; 16]).expect("a hash")).expect("a hash of ours")
}

fn directory() -> Directory {
    let project = |name: &str| Project { id: format!("id-of-{name}"), name: name.to_owned() };
    let user = User {
        id: "id-of-ann".to_owned(),
        name: "ann".to_owned(),
        secret: secret("right"),
        project: project("red"),
        role: Role::Member,
    };
    Directory {
        home: project("home"),
        projects: vec![project("home"), project("red")],
        users: vec![user],
        admin_token: None,
    }
}

fn services() -> Services {
    Services { url: "http://lb:9876".to_owned(), region: "here".to_owned() }
}

fn password(name: &str, password: &str, project: &str) -> Value {
    json!({ "auth": {
        "identity": { "methods": ["password"], "password": { "user": { "name": name, "password": password } } },
        "scope": { "project": { "name": project, "domain": { "id": "default" } } },
    } })
}

#[test]
fn a_secret_is_its_password_and_no_other() {
    let secret = secret("right");
    for _ in 0..2 {
        assert!(secret.is("right"));
        assert!(!secret.is("wrong"));
        assert!(!secret.is(""));
    }
    assert!(Secret::parse("plain").is_none());
    assert_eq!(format!("{secret:?}"), "Secret", "it is not shown");
}

#[test]
fn a_password_gives_a_token_that_is_of_its_user_until_it_ends() {
    let (directory, mut tokens) = (directory(), Tokens::default());
    let given = tokens.sign_in(&directory, &password("ann", "right", "red"), &services(), 100, "t1".to_owned());
    assert_eq!((given.status, given.token.as_deref()), (201, Some("t1")));
    let token = &given.body["token"];
    assert_eq!((&token["project"]["id"], &token["roles"][0]["name"]), (&json!("id-of-red"), &json!("member")));
    assert_eq!(token["expires_at"], "1970-01-01T01:01:40.000000Z");
    let services_told = token["catalog"].as_array().expect("a catalogue").iter();
    let told: Vec<_> = services_told.map(|one| (one["type"].as_str(), one["endpoints"][0]["url"].as_str())).collect();
    let url = Some("http://lb:9876");
    let wanted = [(Some("load-balancer"), url), (Some("network"), url), (Some("identity"), Some("http://lb:9876/v3"))];
    assert_eq!(told, wanted);
    let caller = Caller { project: "id-of-red".to_owned(), role: Role::Member };
    assert_eq!(tokens.caller(&directory, "t1", 3_699), Some(caller));
    assert_eq!(tokens.caller(&directory, "t1", 3_700), None, "it has ended");
    assert_eq!(tokens.caller(&directory, "t2", 100), None, "nobody was given that");
    tokens.revoke("t1");
    assert_eq!(tokens.caller(&directory, "t1", 100), None);
}

#[test]
fn a_token_gives_another_one() {
    let (directory, mut tokens) = (directory(), Tokens::default());
    tokens.sign_in(&directory, &password("ann", "right", "red"), &services(), 0, "t1".to_owned());
    let body = json!({ "auth": { "identity": { "methods": ["token"], "token": { "id": "t1" } } } });
    assert_eq!(tokens.sign_in(&directory, &body, &services(), 1, "t2".to_owned()).status, 201);
    assert!(tokens.caller(&directory, "t2", 2).is_some());
}

#[test]
fn who_is_not_known_gets_no_token() {
    let (directory, mut tokens) = (directory(), Tokens::default());
    for (body, status) in [
        (password("ann", "wrong", "red"), 401),
        (password("bob", "right", "red"), 401),
        (password("ann", "right", "home"), 401),
        (json!({}), 400),
        (json!({ "auth": { "identity": { "methods": ["token"], "token": { "id": "x" } } } }), 401),
    ] {
        let refused = tokens.sign_in(&directory, &body, &services(), 0, "t".to_owned());
        assert_eq!((refused.status, refused.token), (status, None), "{body}");
        assert_eq!(refused.body["error"]["code"], json!(status));
    }
}

use super::*;
use crate::keystone::Secret;
use crate::octavia::Role;

fn read_text(text: &str) -> Result<Settings, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    resolve(file).map_err(|fault| fault.message)
}

#[test]
fn a_whole_file_is_read() {
    let hash = Secret::hash("secret", [1; 16]).expect("a hash");
    let text = format!(
        r#"
        [api]
        listen = "192.0.2.2:9876"
        url = "https://lb.example.org/"
        tls_certificate = "/etc/drlb/tls.pem"
        tls_key = "/etc/drlb/tls.key"
        admin_token_hash = "{hash}"

        [[projects]]
        name = "red"

        [[projects]]
        name = "blue"
        id = "b1"

        [[users]]
        name = "ann"
        password_hash = "{hash}"
        project = "blue"
        role = "member"

        [[networks]]
        name = "front"

        [[networks.subnets]]
        name = "front-v4"
        id = "11111111-1111-4111-8111-111111111111"
        cidr = "192.0.2.0/24"
        gateway = "192.0.2.1"
        vips = ["192.0.2.100-192.0.2.199", "192.0.2.210"]

        [[ports]]
        name = "server-1"
        addresses = ["192.0.2.21"]
        "#
    );
    let settings = read_text(&text).expect("a configuration");
    assert_eq!(settings.api.url.as_deref(), Some("https://lb.example.org"));
    assert_eq!(settings.directory.home.name, "red");
    let ann = settings.directory.user("ann").expect("a user");
    assert_eq!((ann.project.id.as_str(), ann.role, ann.secret.is("secret")), ("b1", Role::Member, true));
    let (network, subnet) = settings.networks.subnet("11111111-1111-4111-8111-111111111111").expect("a subnet");
    assert_eq!((network.name.as_str(), subnet.free.len()), ("front", 2));
    assert_eq!(settings.networks.ports[0].addresses[0].0, subnet.id);
    settings.check_access().expect("users can sign in");
    let again = read_text(&text).expect("a configuration");
    assert_eq!(again.networks, settings.networks, "ids stay");
}

#[test]
fn what_contradicts_itself_is_named() {
    for (text, why) in [
        ("[api]\nlisten = \"x\"", "invalid socket address"),
        ("[api]\nnonsense = 1", "unknown field `nonsense`"),
        ("[api]\ntls_key = \"k\"", "tls_certificate and tls_key go together"),
        ("[api]\nproject = \"x\"", "there is no project `x`"),
        (
            "[[users]]\nname = \"a\"\npassword_hash = \"plain\"\nrole = \"member\"",
            "is none that `drlb hash-password` prints",
        ),
        ("[[projects]]\nname = \"a\"\n[[projects]]\nname = \"a\"", "two projects"),
        ("[[networks]]\nname = \"n\"\n[[networks]]\nname = \"n\"", "another network"),
        ("[[networks]]\nname = \"n\"\nid = \"x\"", "is no UUID"),
        ("[[networks]]\nname = \"n\"\nsubnets = [{ name = \"s\", cidr = \"192.0.2.1/24\" }]", "is no range"),
        (
            "[[networks]]\nname = \"n\"\nsubnets = [{ name = \"s\", cidr = \"192.0.2.0/24\", vips = [\"192.0.3.1\"] }]",
            "192.0.3.1 is not in the subnet `s`",
        ),
        ("[[ports]]\nname = \"p\"\naddresses = [\"192.0.2.1\"]", "is in no subnet"),
    ] {
        let message = read_text(text).expect_err(text);
        assert!(message.contains(why), "{text}: {message}");
    }
}

#[test]
fn a_port_that_nobody_guards_is_refused() {
    let listening =
        |address: &str, more: &str| read_text(&format!("[api]\nlisten = \"{address}\"\n{more}")).expect("read");
    let nobody = listening("127.0.0.1:1", "").check_access().expect_err("nobody can sign in");
    assert!(nobody.message.starts_with("nobody could sign in at 127.0.0.1:1"), "{nobody}");
    listening("127.0.0.1:1", "auth = \"none\"").check_access().expect("this host alone");
    listening("[::1]:1", "auth = \"none\"").check_access().expect("this host alone");
    let everybody = listening("192.0.2.1:1", "auth = \"none\"").check_access().expect_err("everybody");
    assert!(everybody.message.contains("lets everybody in"), "{everybody}");
}

#[test]
fn there_is_room_for_the_tables_that_are_asked_for() {
    let tables = |text: &str| read_text(text).map(|settings| settings.tables);
    assert_eq!(tables(""), Ok(crate::model::Tables { room: 4_195_328, slots: 65_537 }));
    let many = tables("[tables]\nroom = 1000\nslots = 4093");
    assert_eq!(many, Ok(crate::model::Tables { room: 65_552_000, slots: 4_093 }));
    let refused = [
        ("room = 0", "there cannot be room for 0 lookup tables; give 1 to 4096, of 262208 bytes each"),
        ("room = 4097", "there cannot be room for 4097 lookup tables; give 1 to 4096, of 262208 bytes each"),
        (
            "slots = 4096",
            "a lookup table cannot have 4096 slots: its size is a prime, at most 655373; the nearest is 4093",
        ),
        (
            "slots = 1000003",
            "a lookup table cannot have 1000003 slots: its size is a prime, at most 655373; the nearest is 655373",
        ),
    ];
    for (text, message) in refused {
        assert_eq!(tables(&format!("[tables]\n{text}")), Err(message.to_owned()), "{text}");
    }
}

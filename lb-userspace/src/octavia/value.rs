//! Reading a body: each attribute is checked, and brought into the one form that it is kept in.

use std::net::IpAddr;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::refusal::Refusal;
use super::schema::{Field, Kind, Shape};

/// An object's attributes.
pub(crate) type Attributes = Map<String, Value>;

/// Reads the body of a create: what is not named is as it is otherwise.
///
/// # Errors
/// The refusal of the first attribute that is wrong.
pub(super) fn created(kind: Kind, body: Option<&Value>) -> Result<Attributes, Refusal> {
    let object = inside(kind, body)?;
    let mut attributes = read(kind.argument(), kind.fields(), object, Mode::Create)?;
    if kind.is_managed() {
        one_project(&mut attributes);
    }
    Ok(attributes)
}

/// Reads the body of an update: only what is named; null resets.
///
/// # Errors
/// The refusal of the first attribute that is wrong, or cannot change.
pub(super) fn updated(kind: Kind, body: Option<&Value>) -> Result<Attributes, Refusal> {
    read(kind.argument(), kind.fields(), inside(kind, body)?, Mode::Update)
}

/// `tenant_id` is an older name of `project_id`.
pub(super) fn one_project(attributes: &mut Attributes) {
    let tenant = attributes.remove("tenant_id").filter(|tenant| !tenant.is_null());
    if let Some(tenant) = tenant
        && attributes.get("project_id").is_none_or(Value::is_null)
    {
        attributes.insert("project_id".to_owned(), tenant);
    }
}

fn inside(kind: Kind, body: Option<&Value>) -> Result<&Attributes, Refusal> {
    let key = kind.singular();
    let wanted = || Refusal::new(400, format!("Request must be a JSON dict with the key \"{key}\""));
    let object = body.and_then(Value::as_object).ok_or_else(wanted)?;
    if let Some(other) = object.keys().find(|other| *other != key) {
        return Err(unknown(kind.argument().split('.').next().unwrap_or_default(), &[other]));
    }
    object.get(key).and_then(Value::as_object).ok_or_else(wanted)
}

fn unknown(argument: &str, names: &[&String]) -> Refusal {
    let plural = if names.len() > 1 { "s" } else { "" };
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    Refusal::new(400, format!("Unknown attribute{plural} for argument {argument}: {}", names.join(", ")))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Create,
    Update,
}

/// Reads the attributes of a list's items of a batch: as in a create.
///
/// # Errors
/// The refusal of the first attribute that is wrong.
pub(super) fn item(argument: &str, fields: &[Field], value: &Value) -> Result<Attributes, Refusal> {
    let object = value.as_object().ok_or_else(|| Refusal::input(argument, value, "Value should be a dict"))?;
    read(argument, fields, object, Mode::Create)
}

fn read(argument: &str, fields: &[Field], object: &Attributes, mode: Mode) -> Result<Attributes, Refusal> {
    let known = |name: &str| fields.iter().any(|field| field.name == name && (mode == Mode::Create || field.changes));
    let strange: Vec<&String> = object.keys().filter(|name| !known(name)).collect();
    if !strange.is_empty() {
        return Err(unknown(argument, &strange));
    }
    let mut attributes = Attributes::new();
    for field in fields {
        match object.get(field.name) {
            // An administrative state of null is down, as Octavia has it.
            Some(Value::Null) if field.name == "admin_state_up" => {
                attributes.insert(field.name.to_owned(), json!(false));
            }
            Some(Value::Null) | None if mode == Mode::Create => {
                if field.required {
                    return Err(Refusal::input(field.name, &Value::Null, "Mandatory field missing."));
                }
                attributes.insert(field.name.to_owned(), field.otherwise.value());
            }
            Some(Value::Null) => {
                if field.required {
                    return Err(Refusal::option("None", field.name));
                }
                attributes.insert(field.name.to_owned(), field.otherwise.value());
            }
            Some(value) => {
                attributes.insert(field.name.to_owned(), check(argument, field, value)?);
            }
            None => {}
        }
    }
    Ok(attributes)
}

fn check(argument: &str, field: &Field, value: &Value) -> Result<Value, Refusal> {
    let wrong = |why: &str| Refusal::input(field.name, value, why);
    match field.shape {
        Shape::Text(most) => text(value, most).map_err(|why| wrong(&why)),
        Shape::Number(least, most) => number(value, least, Some(most)).map_err(|why| wrong(&why)),
        Shape::From(least) => number(value, least, None).map_err(|why| wrong(&why)),
        Shape::Flag => match flag(value) {
            Some(flag) => Ok(json!(flag)),
            None => Err(wrong(&format!("Value not an unambiguous boolean: {}", super::refusal::shown(value)))),
        },
        Shape::Choice(words) => match value.as_str().filter(|word| words.contains(word)) {
            Some(word) => Ok(json!(word)),
            None => Err(wrong(&format!("Value should be one of: {}", words.join(", ")))),
        },
        Shape::Id => match value.as_str().and_then(|text| Uuid::try_parse(text).ok()) {
            Some(id) => Ok(json!(id.to_string())),
            None => Err(wrong("Value should be UUID format")),
        },
        Shape::Address => match value.as_str().and_then(|text| text.parse::<IpAddr>().ok()) {
            Some(address) => Ok(json!(address.to_string())),
            None => Err(wrong("Value should be IPv4 or IPv6 format")),
        },
        Shape::Ranges => ranges(value).map_err(|why| wrong(&why)),
        Shape::Texts(most) => {
            let items = value.as_array().ok_or_else(|| not_a_list(field.name, value))?;
            let items = items.iter().map(|item| text(item, most).map_err(|why| wrong(&why)));
            Ok(Value::Array(without_repetition(items.collect::<Result<_, _>>()?)))
        }
        Shape::UrlPath => match value.as_str().filter(|path| path.starts_with('/') && is_url_path(path)) {
            Some(path) => Ok(json!(path)),
            None => Err(wrong("Value must be a valid URL Path string")),
        },
        Shape::Codes => match value.as_str().filter(|codes| are_codes(codes)) {
            Some(codes) => Ok(json!(codes)),
            None => Err(wrong(r"Value should match the pattern ^(\d{3}(\s*,\s*\d{3})*)$|^(\d{3}-\d{3})$")),
        },
        Shape::HttpVersion => match number_with_point(value) {
            Some(1.0) => Ok(json!(1.0)),
            Some(1.1) => Ok(json!(1.1)),
            _ => Err(wrong("Value should be one of: 1.0, 1.1")),
        },
        Shape::Domain => match value.as_str().filter(|name| is_domain(name)) {
            Some(name) => Ok(json!(name)),
            None => Err(wrong("Value should be a domain name")),
        },
        Shape::Cookie => match value.as_str().filter(|name| is_cookie(name)) {
            Some(name) => Ok(json!(name)),
            None => Err(wrong(r"Value should match the pattern ^[^\s,;\\]+$")),
        },
        Shape::Headers => {
            let all_texts = |map: &&Attributes| map.values().all(Value::is_string);
            let map = value.as_object().filter(all_texts);
            map.map(|map| Value::Object(map.clone())).ok_or_else(|| wrong("Value not a valid dict"))
        }
        Shape::Object(fields) => {
            let object = value.as_object().ok_or_else(|| wrong("Value not a valid dict"))?;
            Ok(Value::Object(read(&format!("{argument}.{}", field.name), fields, object, Mode::Create)?))
        }
        Shape::Objects(fields) => {
            let items = value.as_array().ok_or_else(|| not_a_list(field.name, value))?;
            let argument = format!("{argument}.{}", field.name);
            let items = items.iter().map(|value| item(&argument, fields, value).map(Value::Object));
            Ok(Value::Array(items.collect::<Result<_, _>>()?))
        }
    }
}

fn not_a_list(name: &str, value: &Value) -> Refusal {
    Refusal::input(name, value, &format!("Value not a valid list: {}", super::refusal::shown(value)))
}

fn text(value: &Value, most: usize) -> Result<Value, String> {
    let Some(text) = value.as_str() else { return Err("Value should be string".to_owned()) };
    match text.chars().count() <= most {
        true => Ok(json!(text)),
        false => Err(format!("Value should have a maximum character requirement of {most}")),
    }
}

fn number(value: &Value, least: i64, most: Option<i64>) -> Result<Value, String> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(flag) => Some(i64::from(*flag)),
        // A number with a point is cut, as Python's int() does.
        Value::Number(number) => {
            number.as_i64().or_else(|| number.as_f64().filter(|number| number.abs() < 9e15).map(|number| number as i64))
        }
        _ => None,
    };
    let Some(number) = number else {
        return Err(format!("invalid literal for int() with base 10: '{}'", super::refusal::shown(value)));
    };
    // Nothing that is kept is beyond what 32 bits hold.
    let most = most.unwrap_or(i64::from(i32::MAX));
    if number < least {
        return Err(format!("Value should be greater or equal to {least}"));
    }
    if number > most {
        return Err(format!("Value should be lower or equal to {most}"));
    }
    Ok(json!(number))
}

/// The unambiguous words for true and false that WSME takes (`ENUM_TRUE`, `ENUM_FALSE`).
pub(super) fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => number.as_i64().map(|number| number != 0),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
            "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn number_with_point(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// Ranges as the networks that they are in: `10.1.2.3/8` is `10.0.0.0/8`, an address alone is one of one address.
fn ranges(value: &Value) -> Result<Value, String> {
    let items = value.as_array().ok_or_else(|| format!("Value not a valid list: {}", super::refusal::shown(value)))?;
    let wrong = || "Value should be IPv4 or IPv6 CIDR format".to_owned();
    let items = items.iter().map(|item| item.as_str().and_then(range).map(|range| json!(range)).ok_or_else(wrong));
    let items = without_repetition(items.collect::<Result<_, _>>()?);
    // A list that allows nothing in particular is shown as none.
    Ok(if items.is_empty() { Value::Null } else { Value::Array(items) })
}

/// A range of addresses, with the bits behind the prefix cleared.
pub(super) fn range(text: &str) -> Option<String> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let digits =
        |length: &str| length.bytes().all(|digit| digit.is_ascii_digit()).then(|| length.parse::<u32>().ok())?;
    match address.parse().ok()? {
        IpAddr::V4(address) => {
            let length = length.map_or(Some(32), digits).filter(|length| *length <= 32)?;
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            Some(format!("{}/{length}", std::net::Ipv4Addr::from(u32::from(address) & mask)))
        }
        IpAddr::V6(address) => {
            let length = length.map_or(Some(128), digits).filter(|length| *length <= 128)?;
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            Some(format!("{}/{length}", std::net::Ipv6Addr::from(u128::from(address) & mask)))
        }
    }
}

fn without_repetition(items: Vec<Value>) -> Vec<Value> {
    let mut once: Vec<Value> = Vec::with_capacity(items.len());
    for item in items {
        if !once.contains(&item) {
            once.push(item);
        }
    }
    once
}

fn is_url_path(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn are_codes(codes: &str) -> bool {
    let code = |code: &str| code.len() == 3 && code.bytes().all(|digit| digit.is_ascii_digit());
    match codes.split_once('-') {
        Some((first, last)) => code(first) && code(last),
        None => codes.split(',').all(|one| code(one.trim())) && codes.trim() == codes,
    }
}

fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    (1..=255).contains(&name.len()) && name.strip_suffix('.').unwrap_or(name).split('.').all(label)
}

fn is_cookie(name: &str) -> bool {
    let usable = |c: char| !c.is_whitespace() && !matches!(c, ',' | ';' | '\\');
    !name.is_empty() && name.chars().count() <= 255 && name.chars().all(usable)
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;

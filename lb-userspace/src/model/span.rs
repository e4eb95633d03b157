//! Spans of time as people write them: `90`, `90s`, `5m`, `2h`, `1d`; where fractions of a second count, `500ms`, too.

/// A span in whole seconds, at least one. A number alone is seconds.
///
/// # Errors
/// The sentence that says how one is written.
pub fn seconds(text: &str) -> Result<u32, String> {
    whole(text).ok_or_else(|| format!("`{text}` is not a span of time; write it as 90, 90s, 5m, 2h or 1d"))
}

/// A span in whole milliseconds, at least one. A number alone is seconds.
///
/// # Errors
/// The sentence that says how one is written.
pub fn milliseconds(text: &str) -> Result<u32, String> {
    let span = match text.strip_suffix("ms") {
        Some(digits) => count(digits),
        None => whole(text).and_then(|seconds| seconds.checked_mul(1_000)),
    };
    span.ok_or_else(|| format!("`{text}` is not a span of time; write it as 500ms, 90, 90s, 5m, 2h or 1d"))
}

/// The shortest text that says exactly so many seconds.
#[must_use]
pub fn show_seconds(seconds: u32) -> String {
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if seconds != 0 && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

/// The shortest text that says exactly so many milliseconds.
#[must_use]
pub fn show_milliseconds(milliseconds: u32) -> String {
    if milliseconds.is_multiple_of(1_000) { show_seconds(milliseconds / 1_000) } else { format!("{milliseconds}ms") }
}

fn whole(text: &str) -> Option<u32> {
    let (digits, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(digits) => (digits, &text[digits.len()..]),
        None => (text, "s"),
    };
    let seconds: u32 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => 86_400,
    };
    count(digits)?.checked_mul(seconds)
}

/// Digits and nothing else, not zero.
fn count(digits: &str) -> Option<u32> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|&count| plain && count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit_or_are_seconds() {
        for (text, expected) in [("90", 90), ("90s", 90), ("5m", 300), ("2h", 7_200), ("1d", 86_400)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
            assert_eq!(milliseconds(text), Ok(expected * 1_000), "{text}");
        }
        assert_eq!(milliseconds("500ms"), Ok(500));
        for text in ["", "s", "0", "0m", "-1", "+1", "1.5m", "5 m", "5min", "m5", "49711d", "4294967296", "٣s", "1é"]
        {
            let refusal = seconds(text).expect_err(text);
            assert_eq!(refusal, format!("`{text}` is not a span of time; write it as 90, 90s, 5m, 2h or 1d"));
            milliseconds(text).expect_err(text);
        }
        assert!(seconds("500ms").is_err());
        for text in ["ms", "0ms", "-5ms", "50d"] {
            milliseconds(text).expect_err(text);
        }
    }

    #[test]
    fn what_is_shown_is_read_as_the_same() {
        for span in [1, 59, 60, 61, 90, 3_600, 3_660, 86_400, 604_800] {
            assert_eq!(seconds(&show_seconds(span)), Ok(span));
        }
        for span in [1, 500, 1_000, 1_500, 60_000, 86_400_000] {
            assert_eq!(milliseconds(&show_milliseconds(span)), Ok(span));
        }
        assert_eq!((show_seconds(900), show_milliseconds(2_500)), ("15m".to_owned(), "2500ms".to_owned()));
    }
}

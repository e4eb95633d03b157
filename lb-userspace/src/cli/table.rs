//! Tables in plain text: aligned columns, a heading in capitals, no lines and no colours, so that they can be read by
//! people and by `awk` alike. Columns never wrap and keep their order.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// What stands in a cell that has nothing to show.
pub(super) const NOTHING: &str = "-";

/// A table with a heading. The columns whose heading is in `numbers` are aligned to the right.
pub(super) fn table<const COLUMNS: usize>(
    heading: [&str; COLUMNS],
    numbers: &[&str],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading);
    for row in rows {
        table.add_row(row);
    }
    for (index, title) in heading.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if numbers.contains(title) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// A port, as people say it.
pub(super) fn port(port: u16) -> String {
    if port == 0 { "every".into() } else { port.to_string() }
}

/// `part` of `whole` in percent, to one place.
pub(super) fn share(part: u32, whole: u32) -> String {
    if whole == 0 {
        return NOTHING.into();
    }
    format!("{:.1}%", f64::from(part) * 100.0 / f64::from(whole))
}

/// A span of time, in its two largest units: `45s`, `2m 5s`, `1h 0m`, `3d 4h`.
pub(super) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// A text that may be missing.
pub(super) fn optional(text: Option<&str>) -> String {
    text.unwrap_or(NOTHING).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_tail() {
        let rows = [["web".into(), "12".into()], ["b".into(), "3456".into()]];
        assert_eq!(table(["NAME", "PACKETS"], &["PACKETS"], rows), "NAME  PACKETS\nweb        12\nb        3456\n");
    }

    #[test]
    fn a_table_without_rows_has_its_heading() {
        assert_eq!(table(["NAME", "STATE"], &[], []), "NAME  STATE\n");
    }

    #[test]
    fn spans_have_two_units_at_most() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (125, "2m 5s"), (3_600, "1h 0m"), (273_605, "3d 4h")] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn shares_are_percent_of_the_table() {
        assert_eq!(share(1, 3), "33.3%");
        assert_eq!(share(0, 7), "0.0%");
        assert_eq!(share(0, 0), "-");
    }
}

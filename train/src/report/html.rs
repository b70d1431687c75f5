//! Text, numbers and tables for HTML.

/// `text` with everything that means something in HTML written out.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A share as `97.22 %`.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// Seconds in a unit that leaves about three digits.
pub fn seconds(s: f64) -> String {
    match s {
        s if !s.is_finite() => format!("{s} s"),
        s if s < 1e-3 => format!("{} µs", digits(s * 1e6)),
        s if s < 1.0 => format!("{} ms", digits(s * 1e3)),
        s if s < 300.0 => format!("{} s", digits(s)),
        s if s < 36_000.0 => format!("{} min", digits(s / 60.0)),
        s => format!("{} h", digits(s / 3600.0)),
    }
}

/// Bytes in decimal units; 0 stands for a size the system did not tell.
pub fn bytes(b: u64) -> String {
    match b as f64 {
        0.0 => "unknown".into(),
        b if b < 1e3 => format!("{b} B"),
        b if b < 1e6 => format!("{} kB", digits(b / 1e3)),
        b if b < 1e9 => format!("{} MB", digits(b / 1e6)),
        b => format!("{} GB", digits(b / 1e9)),
    }
}

/// About three digits.
pub fn digits(x: f64) -> String {
    match x.abs() {
        f64::INFINITY => if x > 0.0 { "∞" } else { "−∞" }.into(),
        a if a < 9.995 => format!("{x:.2}"),
        a if a < 99.95 => format!("{x:.1}"),
        a if a < 1e6 => format!("{x:.0}"),
        _ => format!("{x:.1e}"),
    }
}

/// A quantity that may be small: three digits, no needless zeros, with a proper minus sign.
pub fn value(x: f64) -> String {
    let a = x.abs();
    let text = match a {
        _ if !x.is_finite() => x.to_string(),
        0.0 => "0".into(),
        a if !(1e-3..1e5).contains(&a) => format!("{x:.1e}"),
        a if a < 9.995 => trim(format!("{x:.3}")),
        a if a < 99.95 => trim(format!("{x:.2}")),
        _ => trim(format!("{x:.1}")),
    };
    text.replace('-', "−")
}

fn trim(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').into()
}

/// Whole numbers in groups of three.
pub fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out
}

/// A table of ready HTML cells; columns after `words` hold numbers.
pub fn table(head: &[&str], words: usize, rows: &[Vec<String>]) -> String {
    let class = |i: usize| if i < words { "" } else { " class=\"n\"" };
    let mut out = String::from("<div class=\"wide\"><table><thead><tr>");
    for (i, cell) in head.iter().enumerate() {
        out.push_str(&format!("<th{}>{}</th>", class(i), escape(cell)));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            out.push_str(&format!("<td{}>{cell}</td>", class(i)));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}

/// Days since 1970 as year, month, day (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (z / 146_097 * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Seconds since 1970 as `2026-11-21 01:02 UTC`.
pub fn date(unix: u64) -> String {
    let (year, month, day) = civil(unix / 86_400);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", unix / 3600 % 24, unix / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_827_696), "2000-02-29 12:34 UTC");
        assert_eq!(date(1_795_223_999), "2026-11-21 01:19 UTC");
    }

    #[test]
    fn numbers_keep_about_three_digits() {
        assert_eq!(seconds(0.001_84), "1.84 ms");
        assert_eq!(seconds(0.999), "999 ms");
        assert_eq!(seconds(5400.0), "90.0 min");
        assert_eq!(bytes(123_456_789), "123 MB");
        assert_eq!((value(-7.28), value(0.0), value(2.5e-7)), ("−7.28".into(), "0".into(), "2.5e−7".into()));
        assert_eq!(count(1_234_567).replace('\u{202f}', " "), "1 234 567");
    }
}

//! The rows as bars, an SVG that any browser shows.

use super::report::Row;

const BAR: usize = 22;
const LEFT: f64 = 400.0;
const WIDTH: f64 = 360.0;

/// `on` says which machine it was, and when.
pub fn drawn(rows: &[Row], on: &str) -> String {
    let most = rows.iter().map(|row| row.rate).fold(1.0, f64::max);
    let height = BAR * (rows.len() + 3);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"860\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"18\">MB of payload a CPU second (the daemon: of its whole process)</text>\n"
    );
    for (index, row) in rows.iter().enumerate() {
        let top = BAR * (index + 1) + 8;
        let color = match row.level {
            Some(_) if row.what.starts_with("daemon") => "#2a6f97",
            Some(_) => "#89c2d9",
            None => "#a0a0a0",
        };
        let (text, width, end) = (top + 14, row.rate / most * WIDTH, LEFT + row.rate / most * WIDTH + 6.0);
        out += &format!(
            "<text x=\"8\" y=\"{text}\">{}: {}</text><rect x=\"{LEFT}\" y=\"{top}\" width=\"{width:.1}\" height=\"{}\" \
             fill=\"{color}\"/><text x=\"{end:.1}\" y=\"{text}\">{:.1}</text>\n",
            row.input,
            row.name(),
            BAR - 5,
            row.rate
        );
    }
    let bottom = BAR * (rows.len() + 2);
    out + &format!("<text x=\"8\" y=\"{bottom}\" fill=\"#606060\">{on}</text>\n</svg>\n")
}

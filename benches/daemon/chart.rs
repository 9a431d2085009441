//! The rows as bars, an SVG that any browser shows.

use super::Row;

const BAR: usize = 22;
const LEFT: f64 = 300.0;
const WIDTH: f64 = 360.0;

pub fn drawn(rows: &[Row]) -> String {
    let most = rows.iter().map(|row| row.rate).fold(1.0, f64::max);
    let height = BAR * (rows.len() + 2);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<text x=\"8\" y=\"18\">MB of payload a CPU second of the whole process (json1k)</text>\n"
    );
    for (index, row) in rows.iter().enumerate() {
        let top = BAR * (index + 1) + 8;
        let color = if row.what.starts_with("daemon") { "#2a6f97" } else { "#a0a0a0" };
        let (text, width, end) = (top + 14, row.rate / most * WIDTH, LEFT + row.rate / most * WIDTH + 6.0);
        out += &format!(
            "<text x=\"8\" y=\"{text}\">{}</text><rect x=\"{LEFT}\" y=\"{top}\" width=\"{width:.1}\" height=\"{}\" \
             fill=\"{color}\"/><text x=\"{end:.1}\" y=\"{text}\">{:.1}</text>\n",
            row.what,
            BAR - 5,
            row.rate
        );
    }
    out + "</svg>\n"
}

//! A text as a QR code: in the terminal, as PNG, as SVG.
//!
//! The text holds a private key, and so does every picture of it: all of them are wiped when dropped.

mod mask;

use std::fmt::Write as _;

use qrcode::bits::{Bits, encode_auto};
use qrcode::canvas::Canvas;
use qrcode::ec::construct_codewords;
use qrcode::types::QrError as EncodeError;
use qrcode::{EcLevel, Version};
use zeroize::Zeroizing;

/// Most bytes that a QR code holds: version 40, error correction level L (ISO/IEC 18004, table 7).
pub const MAX_BYTES: usize = 2953;
/// Light modules around a code, as the standard wants them.
const QUIET: usize = 4;
/// What scanners of today still find, where the terminal has no room for more.
const LEAST_QUIET: usize = 2;
/// Pixels a module, in PNG and SVG.
const SCALE: usize = 8;

/// Why a text has no QR code, or none here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QrError {
    /// More than any QR code holds.
    #[error("{bytes} bytes do not fit a QR code: it holds {limit}")]
    TooLong {
        /// Length of the text.
        bytes: usize,
        /// The most that fits.
        limit: usize,
    },
    /// More than the terminal shows.
    #[error(
        "the QR code needs {columns_needed} columns and {rows_needed} rows; this terminal has {columns} and {rows}"
    )]
    TooWide {
        /// Columns of the code with its margin.
        columns_needed: usize,
        /// Columns of the terminal.
        columns: usize,
        /// Rows of the code with its margin, and one for the prompt.
        rows_needed: usize,
        /// Rows of the terminal.
        rows: usize,
    },
}

impl QrError {
    /// Says what to do instead.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => {
                "use --format conf, or shorten the list of AllowedIPs: give the node fewer and wider routes"
            }
            Self::TooWide { .. } => {
                "use --format png --out FILE, make the terminal larger or its letters smaller, or give the node fewer and wider routes"
            }
        }
    }
}

/// How a terminal shows the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Black on white by escape sequences, whatever the terminal's colours are.
    Colour,
    /// Letters only; light modules are drawn, which is right on dark terminals and inverted on light ones.
    Plain,
}

/// A QR code: a square of modules.
pub struct Code {
    /// Modules a side, without the margin.
    width: usize,
    /// Row by row; `true`: dark.
    modules: Zeroizing<Vec<bool>>,
}

impl Code {
    /// Encodes a text in the smallest code that holds it, with error correction M where that costs no size, else L.
    ///
    /// # Errors
    /// [`QrError::TooLong`].
    pub fn new(text: &str) -> Result<Self, QrError> {
        let too_long = |_: EncodeError| QrError::TooLong { bytes: text.len(), limit: MAX_BYTES };
        let low = encode_auto(text.as_bytes(), EcLevel::L).map_err(too_long)?;
        let version = low.version();
        let (bits, level) = match with_correction(text, version) {
            Some(bits) => (bits, EcLevel::M),
            None => (low, EcLevel::L),
        };
        let bytes = Zeroizing::new(bits.into_bytes());
        let (data, correction) = construct_codewords(&bytes, version, level).map_err(too_long)?;
        let (data, correction) = (Zeroizing::new(data), Zeroizing::new(correction));
        let mut canvas = Canvas::new(version, level);
        canvas.draw_all_functional_patterns();
        canvas.draw_data(&data, &correction);
        let width = usize::try_from(version.width()).expect("a width is 21 to 177");
        Ok(Self { width, modules: mask::best(&canvas, width) })
    }

    /// Returns the modules a side, without the margin.
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Says whether a module is dark; positions count from the margin's corner.
    fn is_dark(&self, x: usize, y: usize, quiet: usize) -> bool {
        let inside = quiet..quiet + self.width;
        inside.contains(&x) && inside.contains(&y) && self.modules[(y - quiet) * self.width + x - quiet]
    }

    /// Draws the code with half blocks, two modules a letter. `size` is the terminal's columns and rows; `None`: no
    /// terminal, no limit.
    ///
    /// # Errors
    /// [`QrError::TooWide`] where the terminal cannot show all of it at once.
    pub fn terminal(&self, style: Style, size: Option<(u16, u16)>) -> Result<Zeroizing<String>, QrError> {
        let quiet = self.margin(size)?;
        let side = self.width + 2 * quiet;
        let (start, end) = match style {
            // Colours 16 and 231 of 256 are black and white in every theme, unlike 0 and 15.
            Style::Colour => ("\x1b[38;5;16;48;5;231m", "\x1b[0m\n"),
            Style::Plain => ("", "\n"),
        };
        let mut out =
            Zeroizing::new(String::with_capacity(side.div_ceil(2) * (side * 3 + start.len() + end.len())));
        for y in (0..side).step_by(2) {
            out.push_str(start);
            for x in 0..side {
                let (upper, lower) = (self.is_dark(x, y, quiet), self.is_dark(x, y + 1, quiet));
                // The foreground draws dark modules where colours are ours, light ones where they are not.
                let (upper, lower) = match style {
                    Style::Colour => (upper, lower),
                    // An odd side leaves half a line below the margin: nothing is drawn there.
                    Style::Plain => (!upper, !lower && y + 1 < side),
                };
                out.push(match (upper, lower) {
                    (false, false) => ' ',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (true, true) => '█',
                });
            }
            out.push_str(end);
        }
        Ok(out)
    }

    fn margin(&self, size: Option<(u16, u16)>) -> Result<usize, QrError> {
        let Some((columns, rows)) = size else { return Ok(QUIET) };
        let (columns, rows) = (usize::from(columns), usize::from(rows));
        let needed = |quiet: usize| {
            let side = self.width + 2 * quiet;
            (side, side.div_ceil(2) + 1)
        };
        let fits = |quiet: &usize| {
            let (c, r) = needed(*quiet);
            c <= columns && r <= rows
        };
        (LEAST_QUIET..=QUIET).rev().find(fits).ok_or_else(|| {
            let (columns_needed, rows_needed) = needed(LEAST_QUIET);
            QrError::TooWide { columns_needed, columns, rows_needed, rows }
        })
    }

    /// Draws the code as a PNG: black on white, one bit a pixel, 8 pixels a module.
    pub fn png(&self) -> Zeroizing<Vec<u8>> {
        let side = (self.width + 2 * QUIET) * SCALE;
        let pitch = side.div_ceil(8);
        let mut pixels = Zeroizing::new(Vec::with_capacity(pitch * side));
        for y in 0..self.width + 2 * QUIET {
            // A module is 8 pixels wide and a byte is 8 pixels, so a row of modules is a row of bytes.
            let start = pixels.len();
            pixels.extend((0..pitch).map(|x| if self.is_dark(x, y, QUIET) { 0x00 } else { 0xff }));
            for _ in 1..SCALE {
                pixels.extend_from_within(start..start + pitch);
            }
        }
        let mut out = Zeroizing::new(Vec::with_capacity(pitch * side + 1024));
        let side = u32::try_from(side).expect("a code has at most 177 modules a side");
        let mut encoder = png::Encoder::new(&mut *out, side, side);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        encoder.set_compression(png::Compression::Fast);
        encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(&pixels).and_then(|()| writer.finish()))
            .expect("a Vec takes everything, and the pixels are as many as announced");
        out
    }

    /// Draws the code as an SVG of its own, black on white.
    pub fn svg(&self) -> Zeroizing<String> {
        let side = self.width + 2 * QUIET;
        let pixels = side * SCALE;
        let mut out = Zeroizing::new(String::with_capacity(self.modules.len() * 8 + 512));
        let _ = writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{pixels}\" height=\"{pixels}\" \
             viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\n\
             <rect width=\"{side}\" height=\"{side}\" fill=\"#fff\"/>"
        );
        out.push_str("<path fill=\"#000\" d=\"");
        for y in 0..side {
            let mut x = 0;
            while x < side {
                let run = (x..side).take_while(|x| self.is_dark(*x, y, QUIET)).count();
                if run > 0 {
                    let _ = write!(out, "M{x} {y}h{run}v1h-{run}z");
                }
                x += run.max(1);
            }
        }
        out.push_str("\"/>\n</svg>\n");
        out
    }
}

/// Encodes a text at level M in a code of that size, where it fits.
fn with_correction(text: &str, version: Version) -> Option<Bits> {
    let mut bits = Bits::new(version);
    bits.push_optimal_data(text.as_bytes()).ok()?;
    bits.push_terminator(EcLevel::M).ok()?;
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_and_what_does_not() {
        assert!(Code::new(&"a".repeat(MAX_BYTES)).is_ok());
        let fault = Code::new(&"a".repeat(MAX_BYTES + 1)).err();
        assert_eq!(fault, Some(QrError::TooLong { bytes: MAX_BYTES + 1, limit: MAX_BYTES }));
        assert!(Code::new("").is_ok());
    }

    #[test]
    fn a_terminal_too_small_is_told_what_is_needed() {
        let code = Code::new(&"a".repeat(300)).unwrap();
        let side = code.width();
        assert!(code.terminal(Style::Plain, Some((side as u16 + 8, 200))).is_ok());
        // A narrower margin before none at all.
        let art = code.terminal(Style::Plain, Some((side as u16 + 4, 200))).unwrap();
        assert_eq!(art.lines().next().unwrap().chars().count(), side + 4);
        let fault = code.terminal(Style::Colour, Some((side as u16 + 3, 24))).err();
        let rows_needed = (side + 4).div_ceil(2) + 1;
        assert_eq!(
            fault,
            Some(QrError::TooWide { columns_needed: side + 4, columns: side + 3, rows_needed, rows: 24 })
        );
        assert!(fault.unwrap().hint().contains("--format png"));
        assert!(code.terminal(Style::Plain, Some((side as u16 + 4, rows_needed as u16))).is_ok());
    }

    #[test]
    fn correction_grows_only_where_it_is_free() {
        // Version 1 holds 17 bytes at L and 14 at M.
        assert_eq!(Code::new(&"a".repeat(17)).unwrap().width(), 21);
        assert!(with_correction(&"a".repeat(14), Version::Normal(1)).is_some());
        assert!(with_correction(&"a".repeat(15), Version::Normal(1)).is_none());
    }

    #[test]
    fn svg_and_png_have_the_margin() {
        let code = Code::new("wgrelay").unwrap();
        let svg = code.svg();
        // The first finder pattern: seven dark modules, four from the edge.
        assert!(svg.contains("d=\"M4 4h7v1h-7z"), "{}", &*svg);
        assert!(svg.contains("viewBox=\"0 0 29 29\"") && svg.ends_with("</svg>\n"));
        let png = code.png();
        let reader = png::Decoder::new(std::io::Cursor::new(png.as_slice())).read_info().unwrap();
        assert_eq!((reader.info().width, reader.info().height), (232, 232));
    }
}

//! The XML of GameStream's answers: one root with a status, elements with texts in it.

use std::fmt::{Display, Write as _};

/// An answer under construction.
#[derive(Debug)]
pub struct Xml {
    text: String,
}

impl Xml {
    /// `<root status_code="200">`, the answer to a request that was done.
    #[must_use]
    pub fn ok() -> Self {
        Self::root("status_code=\"200\"")
    }

    /// A root that says what is wrong. Clients show the message to their user.
    #[must_use]
    pub fn error(status: u16, message: &str) -> Self {
        let message = escape(message);
        Self::root(&format!(
            "status_code=\"{status}\" status_message=\"{message}\""
        ))
    }

    fn root(attributes: &str) -> Self {
        Self {
            text: format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<root {attributes}>"),
        }
    }

    /// Adds an element with a text.
    #[must_use]
    pub fn element(mut self, name: &'static str, value: impl Display) -> Self {
        let value = escape(&value.to_string());
        write!(self.text, "<{name}>{value}</{name}>").expect("a String takes everything");
        self
    }

    /// Adds an element that holds what `inside` adds.
    #[must_use]
    pub fn nested(mut self, name: &'static str, inside: impl FnOnce(Self) -> Self) -> Self {
        write!(self.text, "<{name}>").expect("a String takes everything");
        let mut inner = inside(self);
        write!(inner.text, "</{name}>").expect("a String takes everything");
        inner
    }

    /// The whole text.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.text.push_str("</root>\n");
        self.text.into_bytes()
    }
}

/// Escapes for texts and attributes; what XML 1.0 (section 2.2) cannot hold is left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_their_element() {
        let xml = Xml::ok()
            .nested("App", |xml| xml.element("AppTitle", "<a> & \"b\"\u{1}"))
            .finish();
        assert_eq!(
            String::from_utf8(xml).expect("UTF-8"),
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<root status_code=\"200\"><App>\
             <AppTitle>&lt;a&gt; &amp; &quot;b&quot;</AppTitle></App></root>\n"
        );
        let xml = Xml::error(400, "\"quoted\"\n").finish();
        let xml = String::from_utf8(xml).expect("UTF-8");
        assert!(
            xml.contains("status_message=\"&quot;quoted&quot; \""),
            "{xml}"
        );
    }
}

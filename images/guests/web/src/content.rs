//! Bodies of answers: text made on the spot, and pages of a given size.

use alloc::string::String;

use picoserve::io::Write;
use picoserve::response::Content;

/// A text of a given type.
pub(crate) struct Text {
    pub(crate) kind: &'static str,
    pub(crate) body: String,
}

impl Content for Text {
    fn content_type(&self) -> &'static str {
        self.kind
    }

    fn content_length(&self) -> usize {
        self.body.len()
    }

    async fn write_content<W: Write>(self, mut writer: W) -> Result<(), W::Error> {
        writer.write_all(self.body.as_bytes()).await
    }
}

/// What a page is filled with.
const FILLING: &[u8; 512] = &{
    let line = b"This page is filled by a guest of Denizen up to the wanted size.";
    let mut bytes = [b'\n'; 512];
    let mut at = 0;
    while at < bytes.len() {
        if at % 64 != 63 {
            bytes[at] = line[at % 64];
        }
        at += 1;
    }
    bytes
};

/// A page of this many bytes.
pub(crate) struct Page(pub(crate) usize);

impl Content for Page {
    fn content_type(&self) -> &'static str {
        "text/plain"
    }

    fn content_length(&self) -> usize {
        self.0
    }

    async fn write_content<W: Write>(self, mut writer: W) -> Result<(), W::Error> {
        let mut rest = self.0;
        while rest > 0 {
            let part = FILLING.get(..rest).unwrap_or(FILLING);
            writer.write_all(part).await?;
            rest -= part.len();
        }
        Ok(())
    }
}

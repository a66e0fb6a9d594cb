//! SIP messages as the phones read them: plain text, by code that shares nothing with Baton's own.

/// A message, taken apart.
#[derive(Clone, Debug)]
pub struct Text {
    /// Request line or status line.
    pub first: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Text {
    pub fn parse(bytes: &[u8]) -> Text {
        let text = std::str::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("an empty line");
        let mut lines = head.split("\r\n");
        let first = lines.next().expect("a first line").to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').expect("a colon");
            (name.trim().to_owned(), value.trim().to_owned())
        };
        Text { first, headers: lines.map(header).collect(), body: body.to_owned() }
    }

    pub fn is_request(&self) -> bool {
        !self.first.starts_with("SIP/2.0 ")
    }

    /// 0 for requests.
    pub fn status(&self) -> u16 {
        if self.is_request() { 0 } else { self.word(1).parse().expect("a status") }
    }

    /// The request's, or the one the response is for.
    pub fn method(&self) -> &str {
        self.get("CSeq").split(' ').nth(1).expect("a method")
    }

    pub fn uri(&self) -> &str {
        self.word(1)
    }

    fn word(&self, n: usize) -> &str {
        self.first.split(' ').nth(n).expect("a word")
    }

    pub fn cseq(&self) -> u32 {
        self.get("CSeq").split(' ').next().and_then(|n| n.parse().ok()).expect("a number")
    }

    /// The first value of a header; empty when it is not there.
    pub fn get(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// All values of a header, lists taken apart.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        lines.flat_map(|(_, value)| split(value)).collect()
    }

    /// The tag of From or To.
    pub fn tag(&self, name: &str) -> Option<&str> {
        param(self.get(name), "tag")
    }

    /// The branch of the topmost Via.
    pub fn branch(&self) -> &str {
        self.all("Via").first().and_then(|via| param(via, "branch")).unwrap_or("")
    }

    /// The URI in the first Contact.
    pub fn contact(&self) -> &str {
        uri_of(self.get("Contact"))
    }
}

/// What stands in angle brackets.
pub fn uri_of(value: &str) -> &str {
    value.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(value, |(uri, _)| uri)
}

fn param<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let outside = value.rsplit('>').next().unwrap_or(value);
    outside.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

fn split(value: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, c) in value.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(value[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(value[from..].trim());
    parts
}

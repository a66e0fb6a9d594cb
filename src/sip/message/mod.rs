//! message

/// Bounds on what a message may contain (C-026).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole message; at least 65 535.
    pub message: usize,
    /// Header lines.
    pub headers: usize,
    /// Bytes of one header line, folded parts included.
    pub header_line: usize,
    /// Bytes of a URI.
    pub uri: usize,
    /// Via values.
    pub vias: usize,
    /// Route values, and Record-Route values.
    pub routes: usize,
    /// Levels of multipart nesting.
    pub multipart_depth: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message: 65_535,
            headers: 256,
            header_line: 16_384,
            uri: 4_096,
            vias: 70,
            routes: 70,
            multipart_depth: 5,
        }
    }
}

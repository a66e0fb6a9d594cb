//! The torture messages and their expectations, from the files beside.

use std::path::Path;

/// One message and what must come of it.
#[derive(Debug)]
pub struct Case {
    /// The file's name without its ending.
    pub name: String,
    /// The datagram.
    pub bytes: Vec<u8>,
    /// Keys and values, in the order of the file.
    pub fields: Vec<(String, String)>,
}

/// All messages of a folder beside this file, by name.
pub fn cases(folder: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture").join(folder);
    let mut cases: Vec<Case> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|e| e == "dat"))
        .map(|path| case(&path))
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn case(path: &Path) -> Case {
    let expect = path.with_extension("expect");
    let text = std::fs::read_to_string(&expect).unwrap_or_else(|e| panic!("{}: {e}", expect.display()));
    let fields = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Case { name, bytes: std::fs::read(path).expect("a readable file"), fields }
}

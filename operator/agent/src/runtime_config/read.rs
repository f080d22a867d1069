//! The files of the runtime's configuration, as they are on the node now: config.toml, and what it imports.

use std::{
    collections::{BTreeSet, VecDeque},
    fs, io,
    path::{Component, Path, PathBuf},
};

use toml_edit::{DocumentMut, Item};

/// More files than anybody's configuration has: imports may go in circles.
const FILES: usize = 64;
/// More bytes than anybody's configuration has.
const BYTES: u64 = 1 << 20;

/// What is in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// This.
    Text(String),
    /// There is no such file.
    Absent,
    /// It cannot be read: why.
    Unreadable(String),
}

/// The configuration of the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFiles {
    /// config.toml.
    pub main: Content,
    /// What it imports, in the order in which containerd reads them, each with its path on the node.
    pub imported: Vec<(String, Content)>,
    /// Imports outside the directory that the agent is given to read.
    pub unseen: Vec<String>,
}

impl ConfigFiles {
    /// A configuration of one file.
    #[must_use]
    pub fn of(main: Content) -> Self {
        Self { main, imported: Vec::new(), unseen: Vec::new() }
    }
}

/// Reads `config.toml` in `mounted`, which is `directory` on the node, and its imports below it.
#[must_use]
pub fn read(mounted: &Path, directory: &Path, name: &str) -> ConfigFiles {
    let mut files = ConfigFiles::of(content(&mounted.join(name)));
    let mut pending: VecDeque<(PathBuf, String)> = VecDeque::new();
    let mut seen = BTreeSet::from([directory.join(name)]);
    pending.extend(imports(&directory.join(name), &files.main));
    while let Some((parent, import)) = pending.pop_front() {
        let path = resolved(&parent, &import);
        let Ok(inside) = path.strip_prefix(directory) else {
            files.unseen.push(path.display().to_string());
            continue;
        };
        for found in matching(mounted, inside) {
            let on_node = directory.join(&found);
            if files.imported.len() >= FILES || !seen.insert(on_node.clone()) {
                continue;
            }
            let content = content(&mounted.join(&found));
            pending.extend(imports(&on_node, &content));
            files.imported.push((on_node.display().to_string(), content));
        }
    }
    files
}

fn content(path: &Path) -> Content {
    let read = || {
        let metadata = fs::metadata(path)?;
        // To open a pipe would be to wait for somebody who writes.
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        if metadata.len() > BYTES {
            return Err(io::Error::other(format!("it has {} bytes", metadata.len())));
        }
        fs::read_to_string(path)
    };
    match read() {
        Ok(text) => Content::Text(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Content::Absent,
        Err(error) => Content::Unreadable(error.to_string()),
    }
}

/// What a file imports, each beside the file that says so.
fn imports(file: &Path, content: &Content) -> Vec<(PathBuf, String)> {
    let Content::Text(text) = content else { return Vec::new() };
    let Ok(document) = text.parse::<DocumentMut>() else { return Vec::new() };
    let imports = document.get("imports").and_then(Item::as_array).into_iter().flatten();
    imports.filter_map(|import| Some((file.to_owned(), import.as_str()?.to_owned()))).collect()
}

/// The path on the node that an import means: relative ones are beside the file.
fn resolved(file: &Path, import: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in file.parent().unwrap_or(file).join(import).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => path.push(part),
        }
    }
    path
}

/// The files below `root` that a path means whose last part may be a pattern, in the order of their names.
fn matching(root: &Path, pattern: &Path) -> Vec<PathBuf> {
    let Some(name) = pattern.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    if !name.contains('*') {
        return vec![pattern.to_owned()];
    }
    let folder = pattern.parent().unwrap_or(Path::new(""));
    let entries = fs::read_dir(root.join(folder)).into_iter().flatten().filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let names: BTreeSet<String> = names.filter(|found| fits(found, name)).collect();
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// Whether a name fits a pattern whose `*` stand for any text.
fn fits(name: &str, pattern: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('*') else { return name == pattern };
    let Some(name) = name.strip_prefix(before) else { return false };
    let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
    ends.into_iter().any(|at| fits(&name[at..], rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imported(main: &str, files: &[(&str, &str)]) -> ConfigFiles {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("config.toml"), main).unwrap();
        for (name, text) in files {
            let path = temp.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        read(temp.path(), Path::new("/etc/containerd"), "config.toml")
    }

    #[test]
    fn imports_are_followed_by_pattern_relative_and_in_circles_and_not_out_of_the_directory() {
        let main = "imports = ['/etc/containerd/conf.d/*.toml', 'more.toml', '/opt/x.toml', '../up.toml']";
        let files =
            [("conf.d/b.toml", "b = 1"), ("conf.d/a.toml", "imports = ['../config.toml']"), ("conf.d/c.txt", "")];
        let got = imported(main, &files);
        let names: Vec<_> = got.imported.iter().map(|(name, _)| name.as_str()).collect();
        let all = ["/etc/containerd/conf.d/a.toml", "/etc/containerd/conf.d/b.toml", "/etc/containerd/more.toml"];
        assert_eq!(names, all);
        assert_eq!(got.imported[2].1, Content::Absent);
        assert_eq!(got.unseen, ["/opt/x.toml", "/etc/up.toml"]);
    }

    #[test]
    fn what_is_not_there_and_what_is_no_text_are_told_apart() {
        let temp = tempfile::tempdir().unwrap();
        let get = || read(temp.path(), Path::new("/etc/containerd"), "config.toml").main;
        assert_eq!(get(), Content::Absent);
        fs::write(temp.path().join("config.toml"), [0xff, 0xfe]).unwrap();
        assert!(matches!(get(), Content::Unreadable(_)));
    }

    #[test]
    fn a_pattern_fits_what_it_says() {
        assert!(fits("10-x.toml", "*.toml") && fits("ab", "a*b") && fits("a.b.c", "a.*c"));
        assert!(!fits("x.toml.bak", "*.toml") && !fits("a", "a*b"));
    }
}

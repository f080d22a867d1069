//! The files of containerd's configuration, put together as containerd does. 1.x takes a plugin's table whole from the
//! last file that has it, and of one name alone; 2.x goes by single keys, and first brings each file to its own version
//! (`configMigration`): what stands under an older name then replaces what stands under the present one. The present
//! version is 3 up to 2.2 and 4 from 2.3 on, so a table of version 2 in a file of version 3 is taken from 2.3 on alone.

use toml_edit::{DocumentMut, Item, TableLike};

use super::read::{ConfigFiles, Content};

/// The table of the CRI plugin's images, by the version of the file that has it.
const V1: &str = "cri";
const V2: &str = "io.containerd.grpc.v1.cri";
const V3: &str = "io.containerd.cri.v1.images";

/// The files, the later over the earlier.
#[derive(Debug)]
pub(super) struct Layers {
    files: Vec<File>,
    /// The version to which files are brought; 1.x brings them to none.
    present: Option<i64>,
}

#[derive(Debug)]
struct File {
    version: i64,
    document: DocumentMut,
}

/// Why the configuration cannot be judged, to follow the name of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unclear {
    Absent,
    Unreadable { path: String, why: String },
}

impl Layers {
    /// The layers of these files, for a containerd of this major and minor version. `path` is the main one's.
    pub(super) fn of(files: &ConfigFiles, path: &str, release: (u32, u32)) -> Result<Self, Unclear> {
        let main = match &files.main {
            Content::Text(text) => parse(path, text)?,
            Content::Absent => return Err(Unclear::Absent),
            Content::Unreadable(why) => return Err(Unclear::Unreadable { path: path.to_owned(), why: why.clone() }),
        };
        let version = version(&main).unwrap_or(1);
        let mut layers = vec![File { version, document: main }];
        for (path, content) in &files.imported {
            match content {
                Content::Text(text) => {
                    let document = parse(path, text)?;
                    // One without a version is of the one that imports it.
                    layers.push(File { version: self::version(&document).unwrap_or(version), document });
                }
                Content::Absent => {}
                Content::Unreadable(why) => {
                    return Err(Unclear::Unreadable { path: path.clone(), why: why.clone() });
                }
            }
        }
        let present = match release {
            (..=1, _) => None,
            (2, ..=2) => Some(3),
            _ => Some(4),
        };
        Ok(Self { files: layers, present })
    }

    /// Version of the main file; 1 where it says none.
    pub(super) fn version(&self) -> i64 {
        self.files[0].version
    }

    /// Name of the plugin's table in the main file.
    pub(super) fn table(&self) -> &'static str {
        if self.version() >= 3 { V3 } else { V2 }
    }

    /// The value of a key of the plugin, given by the tables on the way to it.
    pub(super) fn get(&self, keys: &[&str]) -> Option<&Item> {
        let mut files = self.files.iter().rev();
        let Some(present) = self.present else {
            return walk(files.find_map(|file| plugin(&file.document, file.table()))?, keys);
        };
        files.find_map(|file| {
            let mut tables = file.tables(present).iter().filter_map(|name| plugin(&file.document, name));
            // An older table's `registry` takes the place of the whole of it.
            walk(tables.find(|table| keys.first().is_some_and(|key| table.contains_key(key)))?, keys)
        })
    }

    /// The version of a file that has a table which nobody reads in it.
    pub(super) fn misplaced(&self) -> Option<String> {
        let is_read = |file: &File| self.present.map_or(file.table() == V2, |present| file.version < present);
        let has = |file: &&File| plugin(&file.document, V2).is_some_and(|table| walk(table, &["registry"]).is_some());
        let ignored = self.files.iter().find(|file| !is_read(file) && has(file))?;
        Some(if ignored.version >= 3 { format!("version {}", ignored.version) } else { "no version line".to_owned() })
    }
}

impl File {
    /// The name that 1.x goes by.
    fn table(&self) -> &'static str {
        match self.version {
            ..=1 => V1,
            2 => V2,
            3.. => V3,
        }
    }

    /// The names that 2.x goes by, the stronger first.
    fn tables(&self, present: i64) -> &'static [&'static str] {
        match self.version {
            ..=1 => &[V1, V2, V3],
            older if older < present => &[V2, V3],
            _ => &[V3],
        }
    }
}

fn parse(path: &str, text: &str) -> Result<DocumentMut, Unclear> {
    text.parse().map_err(|error: toml_edit::TomlError| Unclear::Unreadable {
        path: path.to_owned(),
        why: error.message().to_owned(),
    })
}

fn version(document: &DocumentMut) -> Option<i64> {
    document.get("version").and_then(Item::as_integer)
}

fn plugin<'a>(document: &'a DocumentMut, name: &str) -> Option<&'a dyn TableLike> {
    document.get("plugins")?.as_table_like()?.get(name)?.as_table_like()
}

fn walk<'a>(table: &'a dyn TableLike, keys: &[&str]) -> Option<&'a Item> {
    let (first, rest) = keys.split_first()?;
    let item = table.get(first)?;
    if rest.is_empty() { Some(item) } else { walk(item.as_table_like()?, rest) }
}

//! The document that agents read, made of all mirrors.

use tidepool_api::NodeMode;
use tidepool_config::{MirrorEntry, Mode, NodesDocument};

use crate::ValidMirror;

/// How one mirror stands when the document is made. A mirror that is going, or gone, is not given at all.
#[derive(Clone, Debug)]
pub enum Standing {
    /// Valid: the document says what the spec says.
    Valid(Box<ValidMirror>),
    /// Not valid, or not even readable: the document says what it last said of this mirror.
    Invalid {
        /// The mirror's uid.
        uid: String,
        /// What the spec says of nodes, where it can be read.
        mode: Option<NodeMode>,
    },
}

/// The document of all mirrors, in the order of their names.
///
/// `previous` is the document as agents have it: it keeps what an invalid mirror said when it was valid. One thing is
/// taken from an invalid spec: mode `Withdraw`. It is the switch for emergencies, and must not wait for a spec to be
/// mended.
#[must_use]
pub fn nodes_document(mirrors: &[Standing], previous: Option<&NodesDocument>) -> NodesDocument {
    let mut entries: Vec<MirrorEntry> = mirrors.iter().filter_map(|mirror| entry(mirror, previous)).collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    NodesDocument::new(entries)
}

fn entry(mirror: &Standing, previous: Option<&NodesDocument>) -> Option<MirrorEntry> {
    match mirror {
        Standing::Valid(mirror) => Some(mirror.entry()),
        Standing::Invalid { uid, mode } => {
            let mut last = previous?.mirrors.iter().find(|entry| entry.uid == *uid)?.clone();
            if *mode == Some(NodeMode::Withdraw) {
                last.mode = Mode::Withdraw;
            }
            Some(last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MINIMAL, valid};

    fn invalid(uid: &str, mode: NodeMode) -> Standing {
        Standing::Invalid { uid: uid.to_owned(), mode: Some(mode) }
    }

    #[test]
    fn an_invalid_mirror_keeps_its_last_good_entry_and_a_gone_one_leaves() {
        let good = valid(MINIMAL);
        let uid = good.uid.clone();
        let before = nodes_document(&[Standing::Valid(Box::new(good))], None);
        assert_eq!(before.mirrors.len(), 1);
        assert_eq!(nodes_document(&[invalid(&uid, NodeMode::Configure)], Some(&before)), before);
        assert!(nodes_document(&[invalid("another", NodeMode::Configure)], Some(&before)).mirrors.is_empty());
        assert!(nodes_document(&[], Some(&before)).mirrors.is_empty());
    }

    #[test]
    fn the_emergency_switch_works_on_an_invalid_spec() {
        let good = valid(MINIMAL);
        let uid = good.uid.clone();
        let before = nodes_document(&[Standing::Valid(Box::new(good))], None);
        let after = nodes_document(&[invalid(&uid, NodeMode::Withdraw)], Some(&before));
        assert_eq!(after.mirrors[0].mode, Mode::Withdraw);
    }
}

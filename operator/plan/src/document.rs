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

impl Standing {
    /// The uid of the mirror.
    #[must_use]
    pub fn uid(&self) -> &str {
        match self {
            Self::Valid(mirror) => &mirror.uid,
            Self::Invalid { uid, .. } => uid,
        }
    }
}

/// What agents were told last.
#[derive(Clone, Debug)]
pub enum Told {
    /// Nothing yet.
    Nothing,
    /// What this version cannot read.
    Unreadable,
    /// This.
    Document(NodesDocument),
}

/// What an invalid mirror last said is not known. A document without it would make nodes let go of the mirror.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot read what agents were told last of a mirror that is not valid, so they keep it: mend the mirror, or delete it"
)]
pub struct UnknownPast;

/// The document of all mirrors, in the order of their names.
///
/// `told` keeps what an invalid mirror said when it was valid. One thing is taken from an invalid spec: mode `Withdraw`.
/// It is the switch for emergencies, and must not wait for a spec to be mended. `nodes` is how many Nodes there are.
///
/// # Errors
/// [`UnknownPast`] when a mirror is invalid and `told` unreadable.
pub fn nodes_document(mirrors: &[Standing], nodes: usize, told: &Told) -> Result<NodesDocument, UnknownPast> {
    let entries = mirrors.iter().filter_map(|mirror| entry(mirror, told).transpose());
    let mut entries = entries.collect::<Result<Vec<MirrorEntry>, _>>()?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(NodesDocument { nodes: about(nodes, told), ..NodesDocument::new(entries) })
}

/// What agents are told of the number of nodes: the next power of two. All agents read the document whenever it changes,
/// so what they were told stands until it is too little, or four times too much: nodes come and go by the minute.
fn about(nodes: usize, told: &Told) -> u32 {
    let power = nodes.checked_next_power_of_two().and_then(|power| u32::try_from(power).ok());
    let enough = power.unwrap_or(u32::MAX).max(NodesDocument::FEW);
    match told {
        Told::Document(last) if (enough..=enough.saturating_mul(2)).contains(&last.nodes) => last.nodes,
        Told::Document(_) | Told::Nothing | Told::Unreadable => enough,
    }
}

fn entry(mirror: &Standing, told: &Told) -> Result<Option<MirrorEntry>, UnknownPast> {
    let (uid, mode) = match mirror {
        Standing::Valid(mirror) => return Ok(Some(mirror.entry())),
        Standing::Invalid { uid, mode } => (uid, mode),
    };
    let document = match told {
        Told::Nothing => return Ok(None),
        Told::Unreadable => return Err(UnknownPast),
        Told::Document(document) => document,
    };
    let last = document.mirrors.iter().find(|entry| entry.uid == *uid).cloned();
    Ok(last.map(|last| match mode {
        Some(NodeMode::Withdraw) => MirrorEntry { mode: Mode::Withdraw, ..last },
        Some(NodeMode::Configure | NodeMode::ReportOnly) | None => last,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MINIMAL, valid};

    fn invalid(uid: &str, mode: NodeMode) -> Standing {
        Standing::Invalid { uid: uid.to_owned(), mode: Some(mode) }
    }

    fn told(mirrors: &[Standing], told: &Told) -> NodesDocument {
        nodes_document(mirrors, 2, told).unwrap()
    }

    fn good() -> (String, NodesDocument) {
        let good = valid(MINIMAL);
        (good.uid.clone(), told(&[Standing::Valid(Box::new(good))], &Told::Nothing))
    }

    #[test]
    fn an_invalid_mirror_keeps_its_last_good_entry_and_a_gone_one_leaves() {
        let (uid, before) = good();
        assert_eq!(before.mirrors.len(), 1);
        let last = Told::Document(before.clone());
        assert_eq!(told(&[invalid(&uid, NodeMode::Configure)], &last), before);
        assert!(told(&[invalid("another", NodeMode::Configure)], &last).mirrors.is_empty());
        assert!(told(&[], &last).mirrors.is_empty());
    }

    #[test]
    fn the_emergency_switch_works_on_an_invalid_spec() {
        let (uid, before) = good();
        let after = told(&[invalid(&uid, NodeMode::Withdraw)], &Told::Document(before));
        assert_eq!(after.mirrors[0].mode, Mode::Withdraw);
    }

    #[test]
    fn where_the_last_document_cannot_be_read_nothing_is_told_before_every_mirror_is_valid() {
        let mirrors = [Standing::Valid(Box::new(valid(MINIMAL))), invalid("another", NodeMode::Configure)];
        assert!(nodes_document(&mirrors, 2, &Told::Unreadable).is_err());
        assert_eq!(told(&mirrors[..1], &Told::Unreadable).mirrors.len(), 1);
        assert_eq!(told(&mirrors, &Told::Nothing).mirrors.len(), 1);
    }

    #[test]
    fn agents_are_told_of_no_fewer_nodes_than_there_are_and_not_of_each_that_comes_and_goes() {
        let mut last = Told::Nothing;
        let mut tell = |nodes| {
            let document = nodes_document(&[], nodes, &last).unwrap();
            let told = document.nodes;
            last = Told::Document(document);
            told
        };
        assert_eq!([0, 3, 64].map(&mut tell), [64, 64, 64]);
        assert_eq!([1000, 1024, 1025, 1000, 1030, 600].map(&mut tell), [1024, 1024, 2048, 2048, 2048, 2048]);
        assert_eq!([500, 1, 5000].map(&mut tell), [512, 64, 8192]);
    }
}

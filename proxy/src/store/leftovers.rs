//! What processes before this one left in `tmp`: blobs on their way stay, to be gone on with; everything else goes.

use std::{
    fs::{DirEntry, Metadata},
    path::Path,
};

use super::{
    blocks::HEAD,
    claims::Claims,
    files::{self, ScratchNames, entries},
    layout::Layout,
};

/// Removes what is of no use to anybody.
pub(super) async fn remove_leftovers(layout: Layout, names: ScratchNames, claims: Claims) {
    let swept = super::blocking(move || {
        let left = entries(&layout.scratch()).into_iter().filter(|entry| !names.are_of(entry));
        Ok(left.filter(|entry| remove_useless(&layout, &claims, entry)).count())
    });
    match swept.await {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "removed unfinished files of an earlier process"),
        Err(error) => tracing::warn!(%error, "cannot remove unfinished files of an earlier process"),
    }
}

/// Says whether it was of no use, and is gone.
fn remove_useless(layout: &Layout, claims: &Claims, entry: &DirEntry) -> bool {
    let path = entry.path();
    let Some(digest) = Layout::filled(&path) else { return files::remove(&path) };
    // Whoever fills it has made the one file and is about to make the other.
    let Some(_claim) = claims.take(&digest) else { return false };
    let is_useful = length(&layout.fill(&digest)) > 0 && length(&layout.fill_sums(&digest)) > HEAD;
    !is_useful && files::remove(&path)
}

/// 0 where there is no file.
fn length(path: &Path) -> u64 {
    path.symlink_metadata().ok().filter(Metadata::is_file).map_or(0, |meta| meta.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(folder: &Path) -> Vec<String> {
        let files = entries(folder).into_iter().filter(|entry| entry.path().is_file());
        let mut names: Vec<_> = files.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn p11_leftovers_go_and_our_own_files_and_blobs_on_their_way_stay() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().into());
        let tmp = layout.scratch();
        fs::create_dir(&tmp).unwrap();
        // Whatever the order in which they are listed, one that cannot be removed precedes others.
        for number in 0..10 {
            fs::write(tmp.join(format!("99.0-{number}")), "half a blob").unwrap();
            fs::create_dir(tmp.join(format!("folder-{number}"))).unwrap();
        }
        let [whole, data, sums, empty, claimed] =
            ["a", "b", "c", "d", "e"].map(|letter| format!("sha256:{}", letter.repeat(64)).parse().unwrap());
        let kept = [layout.fill(&whole), layout.fill_sums(&whole), layout.fill(&claimed)];
        let useless = [layout.fill(&data), layout.fill_sums(&sums), layout.fill(&empty), tmp.join("fill-sha256-0")];
        for path in kept.iter().chain(&useless) {
            fs::write(path, [1; 32]).unwrap();
        }
        fs::write(layout.fill_sums(&empty), [1; 24]).unwrap();
        let (scratches, claims) = (ScratchNames::new(tmp.clone()), Claims::default());
        let (ours, claim) = (scratches.create().unwrap(), claims.take(&claimed).unwrap());
        remove_leftovers(layout, scratches, claims).await;
        drop(claim);
        assert_eq!(names(&tmp).len(), 4, "{:?}", names(&tmp));
        assert!(kept.iter().all(|path| path.exists()));
        drop(ours);
        assert_eq!(names(&tmp).len(), 3);
    }
}

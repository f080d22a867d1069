//! What an earlier fill or process left of a blob, as far as it can be trusted.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

use tidepool_oci::Digest;

use super::blocks::{BlockSums, block_count, is_block, window};

/// What could not be read by then is fetched again: whoever waits for the first byte waits for this, too.
const RESUME_WITHIN: Duration = Duration::from_secs(5);

/// The blocks of `data` that are there by `sums` and match; none where nothing can be taken over.
///
/// Never the last block: so the upstream is always asked, by the repository that is pulled from now, whether it still
/// gives this blob.
pub(super) fn resume(digest: &Digest, data: &File, sums: &File) -> io::Result<Option<BlockSums>> {
    let size = data.metadata()?.len();
    let mut text = Vec::new();
    sums.take(BlockSums::offset(block_count(size))).read_to_end(&mut text)?;
    let Some(mut found) = BlockSums::decode_part(digest, size, &text) else { return Ok(None) };
    found.forget(block_count(size).saturating_sub(1));
    let until = Instant::now() + RESUME_WITHIN;
    for block in found.there().collect::<Vec<_>>() {
        let sum = found.get(block).unwrap_or_default();
        if Instant::now() >= until || !is_block(data, window(block, size), sum)? {
            found.forget(block);
        }
    }
    if found.there().next().is_none() {
        return Ok(None);
    }
    sums.write_all_at(&found.encode_part(digest), 0)?;
    Ok(Some(found))
}

//! `spec.upstreams[].tags`: times and patterns that mean something.

use std::time::Duration;

use tidepool_api::{Tags as Raw, UpstreamGone as Gone};
use tidepool_config::{Tags, TimeSpan, UpstreamGone};

use super::{Invalid, parsed};

/// As the rules of the resource say: a year.
const LONGEST: TimeSpan = TimeSpan(Duration::from_secs(8760 * 3600));

pub(super) fn tags(field: &str, raw: &Raw, faults: &mut Vec<Invalid>) -> Tags {
    let after = format!("{field}.revalidateAfter");
    let revalidate_after = span(&after, &raw.revalidate_after, "name tags that never move in tags.immutable", faults);
    let serve_stale_for = raw.serve_stale_for.as_ref().and_then(|text| {
        span(&format!("{field}.serveStaleFor"), text, "leave it out to serve tags without limit", faults)
    });
    let globs = raw.immutable.iter().enumerate();
    let immutable =
        globs.filter_map(|(index, text)| parsed(&format!("{field}.immutable[{index}]"), text, faults)).collect();
    let upstream_gone = match raw.upstream_gone {
        Gone::Serve => UpstreamGone::Serve,
        Gone::Refuse => UpstreamGone::Refuse,
    };
    Tags { revalidate_after: revalidate_after.unwrap_or_default(), serve_stale_for, immutable, upstream_gone }
}

fn span(field: &str, text: &str, remedy: &str, faults: &mut Vec<Invalid>) -> Option<TimeSpan> {
    let read: TimeSpan = parsed(field, text, faults)?;
    if read > LONGEST {
        faults.push(Invalid::spec(field, format!("is at most a year, {LONGEST}: {remedy}")));
    }
    Some(read)
}

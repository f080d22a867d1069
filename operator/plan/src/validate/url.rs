//! Addresses in a spec.

use url::Url;

use super::Invalid;

/// The address of `what`, such as `example`: http or https, and nothing that could be a secret.
pub(super) fn url(field: &str, text: &str, what: &str, example: &str, faults: &mut Vec<Invalid>) -> Option<Url> {
    let mut refuse = |message: String| faults.push(Invalid::spec(field, message));
    // The text is not repeated in messages: there may be a password in it.
    let Some(url) = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
    else {
        refuse(format!("is no address of {what}: use http:// or https:// and a host, such as {example}"));
        return None;
    };
    if text.contains(['@', '?', '#']) {
        refuse("may have no user, query or fragment: leave '@', '?', '#' and what belongs to them out".to_owned());
        return None;
    }
    Some(url)
}

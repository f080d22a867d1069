//! Host names as requests carry them.

/// The host name in a `Host` header or an authority: lower case, without port and without the root's dot.
///
/// `None`: none is named. What is no host name at all is given back as it is, for it is compared and never asked.
#[must_use]
pub fn host_name(authority: &str) -> Option<String> {
    let after_bracket = authority.rfind(']').map_or(0, |at| at + 1);
    let end = authority[after_bracket..].find(':').map_or(authority.len(), |at| after_bracket + at);
    let host = &authority[..end];
    let host = host.strip_suffix('.').unwrap_or(host);
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_case_and_final_dot_make_no_difference() {
        for (authority, expected) in [
            ("docker-io.cache.corp", Some("docker-io.cache.corp")),
            ("Docker-IO.Cache.Corp:443", Some("docker-io.cache.corp")),
            ("docker-io.cache.corp.:5000", Some("docker-io.cache.corp")),
            ("[FD00::1]:5000", Some("[fd00::1]")),
            ("[fd00::1]", Some("[fd00::1]")),
            ("a:b:c", Some("a")),
            (":5000", None),
            (".", None),
            ("", None),
        ] {
            assert_eq!(host_name(authority).as_deref(), expected, "{authority}");
        }
    }
}

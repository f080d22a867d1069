//! The login that a request carries.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};
use tidepool_config::Login;

/// No password of a person or a robot is as long; hashing more would be work for nothing.
const LONGEST: usize = 4096;

/// What a request says about who sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Presented {
    /// Nothing.
    Nothing,
    /// A login without user and password, as podman sends it where it has none: the sender knows that it is nobody.
    Empty,
    /// A user and a password.
    Login(Login),
    /// Something else than a login by user and password.
    Other,
}

impl Presented {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Nothing,
            (Some(value), None) => value.to_str().ok().and_then(read).unwrap_or(Self::Other),
            (Some(_), Some(_)) => Self::Other,
        }
    }
}

fn read(value: &str) -> Option<Presented> {
    let (scheme, encoded) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > LONGEST {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    match text.split_once(':') {
        Some(("", "")) => Some(Presented::Empty),
        Some((username, password)) => {
            Some(Presented::Login(Login { username: username.to_owned(), password: password.to_owned() }))
        }
        None => text.is_empty().then_some(Presented::Empty),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presented(values: &[&str]) -> Presented {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        Presented::of(&headers)
    }

    #[test]
    fn a_login_is_told_from_none_and_from_what_is_no_login() {
        let login = Presented::Login(Login { username: "alice".to_owned(), password: "a:b".to_owned() });
        assert_eq!(presented(&[]), Presented::Nothing);
        for empty in ["Basic Og==", "basic Og==", "Basic ", "Basic"] {
            assert_eq!(presented(&[empty]), Presented::Empty, "{empty}");
        }
        assert_eq!(presented(&["Basic YWxpY2U6YTpi"]), login);
        assert_eq!(presented(&["BASIC  YWxpY2U6YTpi"]), login);
        let long = format!("Basic {}", "YWFh".repeat(LONGEST));
        for other in ["Bearer abc", "Basic !", "Basic YWxpY2U=", "Basic /w==", "", &long] {
            assert_eq!(presented(&[other]), Presented::Other, "{other}");
        }
        assert_eq!(presented(&["Basic Og==", "Basic Og=="]), Presented::Other);
    }
}

//! An error with its causes in one line: for people, in logs and reports.

use std::error::Error;

/// The texts of an error and all its causes, leaving out a cause that the text before it ends with.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot start")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("listen: {0}")]
    struct Inner(#[source] std::io::Error);

    #[test]
    fn every_cause_is_told_once() {
        let error = Outer(Inner(std::io::Error::other("taken")));
        assert_eq!(with_causes(&error), "cannot start: listen: taken");
    }
}

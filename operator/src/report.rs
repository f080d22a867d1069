//! An error and its causes as one line, for logs and conditions.

use std::error::Error;

/// The texts of an error and all its causes. Of an answer of the API server it is the server's own message: the error
/// type prints the whole answer, twice. Of each text only the first line: the server adds whole objects below.
pub(crate) fn report(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        next = cause.source();
        if let Some(kube::Error::Api(status)) = cause.downcast_ref::<Box<kube::Error>>().map(|error| &**error) {
            texts.push(first_line(&status.message));
            break;
        }
        if let Some(kube::Error::Api(status)) = cause.downcast_ref() {
            texts.push(first_line(&status.message));
            break;
        }
        let text = first_line(&cause.to_string());
        // Some types repeat their cause in their own text.
        if !texts.last().is_some_and(|last| last.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::ApplyError;

    #[test]
    fn an_answer_of_the_api_server_is_told_in_its_own_words() {
        let status = kube::core::Status::failure("exceeded quota: small\n  core.Spec{", "Forbidden").boxed();
        let source = Box::new(kube::Error::Api(status));
        let error = ApplyError::Apply { kind: "Deployment".into(), name: "mirror-reef-0".into(), source };
        assert_eq!(report(&error), "cannot apply Deployment mirror-reef-0: exceeded quota: small");
    }
}

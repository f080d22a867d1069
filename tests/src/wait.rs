//! Waiting with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Asks `done` every `pause` until it says yes.
///
/// # Errors
/// After `within`, with `what` was awaited and the last error of `done`, if it had one.
pub fn until(within: Duration, pause: Duration, what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + within;
    loop {
        let answer = done();
        if matches!(answer, Ok(true)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            answer.with_context(|| format!("no {what} within {} s", within.as_secs()))?;
            bail!("no {what} within {} s", within.as_secs());
        }
        std::thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_kept() {
        let error = until(Duration::ZERO, Duration::ZERO, "answer", || bail!("refused")).unwrap_err();
        assert_eq!(format!("{error:#}"), "no answer within 0 s: refused");
    }
}

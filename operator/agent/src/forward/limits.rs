//! How long things may take.

use std::time::Duration;

/// How long things may take. A runtime waits 30 s for headers at best, and for ever at worst.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until a member accepts a connection: longer than a silence, so that its health decides.
    pub connect: Duration,
    /// Until a connection is there and both sides are proven: longer than a silence, for the same reason, and shorter
    /// than two, so that one who never says who it is is told apart.
    pub handshake: Duration,
    /// How long a member may be silent until it is asked for its health, and then to answer that.
    pub silence: Duration,
    /// Until the headers of a HEAD or a manifest, all members together: a member's own 8 s, two silences that tell
    /// dead ones before it, and a second more.
    pub small: Duration,
    /// Until the headers of a blob, all members together: the same around a member's own 15 s.
    pub blob: Duration,
    /// Between two bytes of a body, whatever is tried meanwhile: more than a member bears of an upstream.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(1500),
            handshake: Duration::from_millis(1500),
            silence: Duration::from_secs(1),
            small: Duration::from_secs(11),
            blob: Duration::from_secs(18),
            idle: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// How long a body may stand still at a live member, before others get what is left of the time.
    pub(super) fn stands_still(&self) -> Duration {
        self.idle.saturating_sub(self.silence * 2)
    }

    pub(super) fn headers(&self, is_blob: bool) -> Duration {
        if is_blob { self.blob } else { self.small }
    }

    /// Who was alive and gave no headers for so long kept none of its own deadlines.
    pub(super) fn blame_after(&self, is_blob: bool) -> Duration {
        self.headers(is_blob).saturating_sub(self.silence * 2)
    }

    /// How long to wait before a member that answers about its health, and nothing else, is asked for it again: those who
    /// wait for a slow upstream must not wear it down with questions.
    pub(super) fn more_patience(&self, patience: Duration) -> Duration {
        (patience * 2).min(self.silence * 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A member's own deadlines, by design P1.
    const MEMBERS: [Duration; 2] = [Duration::from_secs(8), Duration::from_secs(15)];

    #[test]
    fn n6_all_members_together_stay_below_what_a_runtime_bears_and_above_a_slow_members_own_deadline() {
        let limits = Limits::default();
        let detection = limits.silence * 2;
        assert!(detection <= Duration::from_secs(2), "what a pull may pay where a member is dead");
        for (limit, own) in [(limits.small, MEMBERS[0]), (limits.blob, MEMBERS[1])] {
            assert!(limit > own + detection, "a member behind a dead one may say itself that its upstream is slow");
            assert!(limit < Duration::from_secs(20), "containerd gives up after 30 s, or never");
        }
        assert!(limits.handshake > limits.silence && limits.handshake < detection && limits.connect > limits.silence);
        assert!(limits.blame_after(false) > MEMBERS[0] && limits.blame_after(true) > MEMBERS[1]);
    }
}

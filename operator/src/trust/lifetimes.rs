//! How long authorities and certificates live, and what follows of it.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

const DAY: u64 = 24 * 3600;
const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 3600), ('d', DAY)];
/// Below, clocks that differ by a few seconds and Secrets that take a minute to reach a pod cost pulls.
const SHORTEST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(100 * 365 * DAY);
/// A certificate is valid from this long before it was made, for clocks that are behind; of a short one a tenth.
const SKEW: Duration = Duration::from_secs(300);
/// A new authority is believed everywhere this long before it signs; of a short one a tenth.
const SPREAD: Duration = Duration::from_secs(3600);

/// A length of time as an argument: `90s`, `15m`, `12h`, `30d`, or several in a row such as `1d12h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(pub(crate) Duration);

/// The text is no length of time, or none that can be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a lifetime is written with units s, m, h and d, such as 30d or 12h30m, from 30s to 36500d")]
pub struct LifetimeError;

impl FromStr for Lifetime {
    type Err = LifetimeError;

    fn from_str(text: &str) -> Result<Self, LifetimeError> {
        let (mut rest, mut seconds) = (text, 0_u64);
        while let Some(at) = rest.find(|c: char| !c.is_ascii_digit()) {
            let number: u64 = rest[..at].parse().map_err(|_| LifetimeError)?;
            let unit = UNITS.iter().find(|(unit, _)| rest[at..].starts_with(*unit)).ok_or(LifetimeError)?;
            let part = number.checked_mul(unit.1).ok_or(LifetimeError)?;
            seconds = seconds.checked_add(part).ok_or(LifetimeError)?;
            rest = &rest[at + 1..];
        }
        let length = Duration::from_secs(seconds);
        let sound = rest.is_empty() && (SHORTEST..=LONGEST).contains(&length);
        if sound { Ok(Self(length)) } else { Err(LifetimeError) }
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (unit, length) =
            UNITS.iter().rev().find(|(_, length)| seconds.is_multiple_of(*length)).unwrap_or(&UNITS[0]);
        write!(f, "{}{unit}", seconds / length)
    }
}

/// How long what the operator issues lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    pub(crate) authority: Duration,
    pub(crate) certificate: Duration,
}

/// The two do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--certificate-lifetime {certificate} is more than a third of --authority-lifetime {authority}: \
     shorten the one or lengthen the other, so that no certificate outlives its authority"
)]
pub struct LifetimesError {
    certificate: Lifetime,
    authority: Lifetime,
}

impl Lifetimes {
    pub(crate) fn new(authority: Lifetime, certificate: Lifetime) -> Result<Self, LifetimesError> {
        if certificate.0 > authority.0 / 3 {
            return Err(LifetimesError { certificate, authority });
        }
        Ok(Self { authority: authority.0, certificate: certificate.0 })
    }
}

/// From when to when something is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) begins: SystemTime,
    pub(super) ends: SystemTime,
}

impl Validity {
    /// Of something made `now` that lives for `life`, the part before `now` included.
    pub(super) fn from(now: SystemTime, life: Duration) -> Self {
        let begins = now - SKEW.min(life / 10);
        Self { begins, ends: begins + life }
    }

    /// As [`Self::from`], of something that may not outlive `limit`: it is as if it had been made for less.
    pub(super) fn until(limit: SystemTime, now: SystemTime, life: Duration) -> Self {
        let whole = Self::from(now, life);
        if whole.ends <= limit {
            return whole;
        }
        let rest = limit.duration_since(now).unwrap_or_default();
        // A ninth of the rest is a tenth of both together.
        Self { begins: now - SKEW.min(rest / 9), ends: limit }
    }

    /// When it was made.
    pub(super) fn made(self) -> SystemTime {
        self.begins + SKEW.min(self.life() / 10)
    }

    /// When the next is made: after two thirds of its life, or of `lifetime` where that was shortened since.
    pub(super) fn renew_at(self, lifetime: Duration) -> SystemTime {
        self.begins + self.life().min(lifetime) * 2 / 3
    }

    pub(super) fn life(self) -> Duration {
        self.ends.duration_since(self.begins).unwrap_or_default()
    }
}

/// How long a new authority is only believed.
pub(super) fn spread(authority: Duration) -> Duration {
    SPREAD.min(authority / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<Lifetime>().map(|lifetime| lifetime.0.as_secs());
        assert_eq!(read("365d"), Ok(365 * DAY));
        assert_eq!(read("1d12h"), Ok(36 * 3600));
        assert_eq!(read("90s"), Ok(90));
        let nonsense =
            ["", "30", "d", "-1d", "1.5h", "30 d", "30D", "1w", "29s", "36501d", "99999999999999999999s", "30d1", "ß"];
        for text in nonsense {
            assert_eq!(read(text), Err(LifetimeError), "{text}");
        }
        assert_eq!(read("300000000000000000d"), Err(LifetimeError));
    }

    #[test]
    fn a_certificate_never_gets_more_than_a_third_of_its_authoritys_life() {
        let lifetimes = |authority: &str, certificate: &str| {
            Lifetimes::new(authority.parse().unwrap(), certificate.parse().unwrap())
        };
        assert!(lifetimes("365d", "30d").is_ok());
        assert!(lifetimes("90d", "30d").is_ok());
        let error = lifetimes("36h", "1d").unwrap_err().to_string();
        assert!(error.contains("--certificate-lifetime 1d") && error.contains("--authority-lifetime 36h"), "{error}");
    }

    #[test]
    fn what_was_made_is_known_from_what_it_says() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for life in [SHORTEST, Duration::from_secs(3600), Duration::from_secs(365 * DAY)] {
            let validity = Validity::from(now, life);
            assert_eq!(validity.made(), now);
            assert!(validity.begins < now && validity.renew_at(life) > now && validity.renew_at(life) < validity.ends);
        }
    }
}

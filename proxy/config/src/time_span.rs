//! Lengths of time, written as people and Kubernetes write them.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time in whole seconds, written `30s`, `10m`, `168h` or `1h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeSpan(pub Duration);

/// The text is no length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a length of time is whole hours, minutes and seconds in this order, such as 30s, 10m, 168h or 1h30m")]
pub struct TimeSpanError;

/// More digits of one unit would mean nothing, and nothing can overflow.
const MOST_DIGITS: usize = 9;

impl FromStr for TimeSpan {
    type Err = TimeSpanError;

    fn from_str(text: &str) -> Result<Self, TimeSpanError> {
        let (mut rest, mut seconds) = (text, 0);
        for (unit, factor) in [('h', 3600), ('m', 60), ('s', 1)] {
            if let Some((number, after)) = rest.split_once(unit) {
                seconds += whole(number)? * factor;
                rest = after;
            }
        }
        if rest.is_empty() && !text.is_empty() { Ok(Self(Duration::from_secs(seconds))) } else { Err(TimeSpanError) }
    }
}

fn whole(number: &str) -> Result<u64, TimeSpanError> {
    let sound = number.len() <= MOST_DIGITS && number.bytes().all(|b| b.is_ascii_digit());
    number.parse().ok().filter(|_| sound).ok_or(TimeSpanError)
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let parts = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
        if seconds == 0 {
            return f.write_str("0s");
        }
        parts.iter().filter(|(number, _)| *number > 0).try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

impl Serialize for TimeSpan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = TimeSpan;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as 10m")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TimeSpan, E> {
                text.parse().map_err(E::custom)
            }
        }
        // Any: a bare number is told what it lacks.
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubernetes_writes_in_whole_seconds_and_prints_what_reads_back() {
        for (text, seconds, printed) in [
            ("0s", 0, "0s"),
            ("30s", 30, "30s"),
            ("90s", 90, "1m30s"),
            ("10m", 600, "10m"),
            ("168h", 604_800, "168h"),
            ("1h0m1s", 3601, "1h1s"),
            ("999999999h", 999_999_999 * 3600, "999999999h"),
        ] {
            let read: TimeSpan = text.parse().unwrap();
            assert_eq!((read.0.as_secs(), read.to_string().as_str()), (seconds, printed), "{text}");
            assert_eq!(read.to_string().parse(), Ok(read));
        }
        for text in ["", "0", "10", "7d", "1.5h", "-1s", "+1s", "1m1h", "1h 1m", "h", "1ms", "1000000000h", "1hm"] {
            assert_eq!(text.parse::<TimeSpan>(), Err(TimeSpanError), "{text}");
        }
    }
}

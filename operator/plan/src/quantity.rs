//! Kubernetes quantities as numbers, as far as sizes and CPU shares need.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Requests or limits by resource.
pub(crate) fn quantities(pairs: &[(&str, &str)]) -> BTreeMap<String, Quantity> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), Quantity((*value).to_owned()))).collect()
}

/// The value of a quantity such as `1.5Gi`, `500m`, `2` or `1e3`; `None` when the text is none.
///
/// Two texts of one value compare equal: the API server may write a quantity in another form than it was given.
#[must_use]
pub fn quantity(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let exponent = || suffix.strip_prefix(['e', 'E']).and_then(|digits| digits.parse::<i32>().ok());
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => (1_u64 << 10) as f64,
        "Mi" => (1_u64 << 20) as f64,
        "Gi" => (1_u64 << 30) as f64,
        "Ti" => (1_u64 << 40) as f64,
        "Pi" => (1_u64 << 50) as f64,
        "Ei" => (1_u64 << 60) as f64,
        _ => 10_f64.powi(exponent()?),
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_in_two_forms_is_equal() {
        for (one, other) in [("1000m", "1"), ("1.5Gi", "1536Mi"), ("1e3", "1k"), ("0.5", "500m"), ("2E", "2e18")] {
            assert_eq!(quantity(one), quantity(other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_quantity_has_no_value() {
        for text in ["", "Gi", "fast", "1.2.3", "5gb", "12 Gi"] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }
}

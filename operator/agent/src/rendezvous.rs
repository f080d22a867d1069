//! Which member is home to a piece of content: rendezvous hashing, the same on every node. Pure.

use sha2::{Digest as _, Sha256};

/// The weight of `member` for `key`; the highest weight is home. SHA-256, so that agents of all releases and
/// architectures agree.
#[must_use]
pub fn weight(member: &str, key: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(member.as_bytes());
    // Neither names nor keys hold NUL, so no two pairs run together.
    hash.update([0]);
    hash.update(key.as_bytes());
    let hash = hash.finalize();
    hash.iter().take(8).fold(0, |weight, byte| weight << 8 | u64::from(*byte))
}

/// Members in the order in which they are asked for `key`: home first.
pub fn order<'a, M>(members: &'a [M], key: &str, id: impl Fn(&M) -> &str) -> Vec<&'a M> {
    let mut weighted: Vec<_> = members.iter().map(|member| (weight(id(member), key), member)).collect();
    weighted.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| id(x).cmp(id(y))));
    weighted.into_iter().map(|(_, member)| member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn home<'a>(members: &'a [String], key: &str) -> &'a String {
        order(members, key, String::as_str)[0]
    }

    #[test]
    fn the_weight_of_a_pair_is_fixed_for_all_releases() {
        assert_eq!(weight("mirror-public-0", "sha256:00"), 0x1636_0795_dac2_fc6c);
    }

    proptest! {
        #[test]
        fn a_member_that_leaves_moves_only_what_was_its_own(keys in prop::collection::vec("[a-z]{1,8}", 1..50), gone in 0..4usize) {
            let all: Vec<String> = (0..4).map(|n| format!("mirror-m-{n}")).collect();
            let rest: Vec<String> = all.iter().enumerate().filter(|(n, _)| *n != gone).map(|(_, m)| m.clone()).collect();
            for key in keys {
                let before = home(&all, &key);
                if *before != all[gone] {
                    prop_assert_eq!(before, home(&rest, &key));
                }
            }
        }

        #[test]
        fn the_order_in_which_members_are_listed_changes_nothing(key in "[a-z]{1,8}", turn in 0..4usize) {
            let all: Vec<String> = (0..4).map(|n| format!("mirror-m-{n}")).collect();
            let mut turned = all.clone();
            turned.rotate_left(turn);
            prop_assert_eq!(order(&all, &key, String::as_str), order(&turned, &key, String::as_str));
        }
    }

    #[test]
    fn content_spreads_evenly() {
        let all: Vec<String> = (0..4).map(|n| format!("mirror-m-{n}")).collect();
        let on_first = (0..4000).filter(|n| *home(&all, &format!("sha256:{n}")) == all[0]).count();
        assert!((900..1100).contains(&on_first), "{on_first}");
    }
}

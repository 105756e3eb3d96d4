//! Who is one person: which e-mail addresses are whose, and which accounts are no person's.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::UserId;

/// E-mail address, as [`plain_address`] makes it → those whose it is.
pub type Owners = BTreeMap<String, BTreeSet<UserId>>;

/// What is known of the people who had a hand in a change, and of those who approved it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    /// Whose the forge says that addresses are.
    pub owners: Owners,
    /// Accounts that are no person's, with whose they are where that is known.
    pub bots: BTreeMap<UserId, Option<UserId>>,
    /// Whether there are more addresses than were asked for.
    pub unasked: bool,
}

/// An address in the form in which two are compared: lower case, and without what follows a `+` in its local part, since
/// both are delivered to one and the same.
#[must_use]
pub fn plain_address(address: &str) -> String {
    let lower = address.trim().to_lowercase();
    match lower.rsplit_once('@') {
        Some((local, host)) => {
            let local = local.split('+').next().unwrap_or(local);
            format!("{local}@{host}")
        }
        None => lower,
    }
}

/// Whether an address can be one that somebody has registered.
#[must_use]
pub fn is_address(address: &str) -> bool {
    const LONGEST: usize = 254;
    let parts = address.rsplit_once('@');
    parts.is_some_and(|(local, host)| !local.is_empty() && !host.is_empty())
        && address.len() <= LONGEST
        && !address.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Whether an e-mail address may be someone's: one that the forge or the rules know for theirs, their account's own
/// no-reply address, or one whose local part is their name. Addresses only exclude, so a wide reading is the safe one.
#[must_use]
pub fn belongs_to(email: &str, user: UserId, username: &str, known: &[&Owners]) -> bool {
    let plain = plain_address(email);
    if known
        .iter()
        .any(|owners| owners.get(&plain).is_some_and(|users| users.contains(&user)))
    {
        return true;
    }
    let local = plain.split('@').next().unwrap_or(&plain);
    local.eq_ignore_ascii_case(username)
        || local
            .split_once('-')
            .is_some_and(|(id, _)| id == user.to_string() && plain.contains("noreply"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::name("ada@anywhere.test", true)]
    #[case::name_with_more("ADA+work@example.com", true)]
    #[case::no_reply("2-ada@users.noreply.git.example", true)]
    #[case::no_reply_of_an_old_name("2-countess@users.noreply.git.example", true)]
    #[case::of_the_forge("Countess+x@Lovelace.test", true)]
    #[case::of_the_rules("a.l@corp.test", true)]
    #[case::another("dana@example.test", false)]
    #[case::number_of_another("22-ada2@users.noreply.git.example", false)]
    #[case::host_of_another("countess@elsewhere.test", false)]
    #[case::nothing("", false)]
    fn an_address_is_whose_it_is_known_to_be(#[case] email: &str, #[case] hers: bool) {
        let of = |email: &str| Owners::from([(email.to_owned(), BTreeSet::from([UserId(2)]))]);
        let (forge, rules) = (of("countess@lovelace.test"), of("a.l@corp.test"));
        assert_eq!(belongs_to(email, UserId(2), "ada", &[&forge, &rules]), hers);
    }

    #[rstest]
    #[case("ada@example.test", true)]
    #[case("@example.test", false)]
    #[case("ada", false)]
    #[case("a b@example.test", false)]
    #[case("ada@", false)]
    fn what_nobody_can_have_registered_is_not_asked_for(#[case] address: &str, #[case] can_be: bool) {
        assert_eq!(is_address(address), can_be);
    }
}

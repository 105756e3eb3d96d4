//! The names that things get in a cloud: made from whose they are, hashed where a limit cuts.

use super::ids::Digest;

/// How many hex digits of the hash end every name: 48 bits, so that two resources of a platform never meet.
const HASH: usize = 12;

/// A name of lower-case letters, digits and hyphens that begins with a letter: the parts as far as they fit, and a hash
/// of all of them. Parts that join to the same text (`a-b` and `c`, `a` and `b-c`) get different names. `longest` counts
/// bytes and is at least 16.
#[must_use]
pub fn cloud_name(parts: &[&str], longest: usize) -> String {
    let whole = serde_json::json!(parts).to_string();
    let digest = Digest::of(whole.as_bytes());
    let hash = digest.as_str().get(..HASH).unwrap_or_default();
    let readable: String = parts
        .join("-")
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(longest.saturating_sub(HASH + 1))
        .collect();
    let mut words: Vec<&str> = readable.split('-').filter(|word| !word.is_empty()).collect();
    while words
        .first()
        .is_some_and(|word| !word.starts_with(|c: char| c.is_ascii_lowercase()))
    {
        words.remove(0);
    }
    if words.is_empty() {
        return format!("r-{hash}");
    }
    format!("{}-{hash}", words.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_it_is_and_fits() {
        for (parts, longest, readable) in [
            (
                vec!["platform", "web-team", "shop", "orders"],
                63,
                "platform-web-team-shop-orders-",
            ),
            (vec!["platform", "web-team", "shop", "orders"], 24, "platform-we-"),
            (vec!["1st", "web"], 63, "web-"),
            (vec!["Shop.Site_1"], 63, "shop-site-1-"),
            (vec!["a", "--b-"], 63, "a-b-"),
            (vec!["9"], 63, "r-"),
        ] {
            let name = cloud_name(&parts, longest);
            assert!(name.len() <= longest, "{name}");
            assert_eq!(&name[..name.len() - HASH], readable, "{name}");
        }
    }

    #[test]
    fn parts_that_join_alike_have_names_of_their_own() {
        let names = [
            cloud_name(&["a-b", "c"], 63),
            cloud_name(&["a", "b-c"], 63),
            cloud_name(&["a", "b", "c"], 63),
        ];
        assert!(names[0] != names[1] && names[1] != names[2] && names[0] != names[2]);
        assert_eq!(names[0], cloud_name(&["a-b", "c"], 63));
    }
}

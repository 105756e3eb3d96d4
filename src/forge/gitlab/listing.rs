//! Listings, page by page. What is listed was written by anybody: one element may be as large as GitLab lets it be, and
//! there may be very many of them.

use std::ops::ControlFlow;

use gitlab::api::{ApiError, Endpoint};
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{CallError, Client, LARGEST_ANSWER, cut, forge_error};
use crate::forge::ForgeError;

/// Elements a page. Where a page is too large, or GitLab too slow to make it, the next size is asked for; each divides
/// the one before.
const SIZES: [usize; 3] = [100, 10, 1];
/// A page is asked for in smaller parts beyond that; a single element may be as large as any answer.
const LARGEST_PAGE: usize = 4 << 20;
/// The longest listing that is read as a whole.
const MOST_ELEMENTS: usize = 10_000;
/// The most calls for a listing that is looked through.
const MOST_CALLS: usize = 1_000;

/// Where a listing has been read up to.
struct Place {
    /// How many elements are before it.
    at: usize,
    /// Which of the sizes.
    size: usize,
}

impl Place {
    fn size(&self) -> usize {
        SIZES.get(self.size).copied().unwrap_or(1)
    }

    /// Pages are counted from one.
    fn page(&self) -> usize {
        self.at / self.size() + 1
    }

    /// Behind this page. Where it began with a larger one, a larger one is tried again.
    fn advance(&mut self) {
        self.at += self.size();
        while self.size > 0
            && SIZES
                .get(self.size - 1)
                .is_some_and(|larger| self.at.is_multiple_of(*larger))
        {
            self.size -= 1;
        }
    }

    /// Whether there is a smaller page to ask for.
    fn shrink(&mut self) -> bool {
        let smaller = self.size + 1 < SIZES.len();
        self.size += usize::from(smaller);
        smaller
    }
}

/// A page, as far as it can be read.
struct Page<T> {
    elements: Vec<T>,
    last: bool,
}

impl Client {
    /// A listing to its very end: an element that cannot be had, or more of them than can be read, is an error.
    ///
    /// Not the crate's `paged`: that one takes a short page for the last one, but GitLab leaves out of a page of
    /// notes what we may not see, so that a page in the middle can be short.
    pub(super) async fn list<T>(
        &self,
        activity: String,
        endpoint: impl Endpoint + Sync,
    ) -> Result<Vec<T>, ForgeError>
    where
        T: DeserializeOwned,
    {
        let mut all = Vec::new();
        let mut place = Place { at: 0, size: 0 };
        while place.at < MOST_ELEMENTS {
            let page = match self.page(&activity, &endpoint, &place).await {
                Err(error) if is_too_much(&error) && place.shrink() => continue,
                page => page.map_err(|error| forge_error(activity.clone(), ApiError::client(error)))?,
            };
            let read: Result<Page<T>, _> = strictly(&page, &place);
            let page = read.map_err(|error| unreadable(&activity, &error))?;
            all.extend(page.elements);
            if page.last {
                return Ok(all);
            }
            place.advance();
        }
        let reason = format!("more than {MOST_ELEMENTS} entries");
        Err(ForgeError::Unexpected { activity, reason })
    }

    /// Looks through a listing, a page at a time, until `see` has found what it looks for. What cannot be had, and
    /// what is beyond what can be read, is left out and told in the log.
    pub(super) async fn walk<T>(
        &self,
        activity: String,
        endpoint: impl Endpoint + Sync,
        mut see: impl FnMut(Vec<T>) -> ControlFlow<()> + Send,
    ) -> Result<(), ForgeError>
    where
        T: DeserializeOwned + Send,
    {
        let mut place = Place { at: 0, size: 0 };
        for _ in 0..MOST_CALLS {
            let page = match self.page(&activity, &endpoint, &place).await {
                Ok(page) => page,
                Err(error) if is_too_much(&error) && place.shrink() => continue,
                Err(error @ CallError::TooLarge { .. }) => {
                    tracing::warn!(activity, place = place.at + 1, %error, "an entry of a listing is left out");
                    place.advance();
                    continue;
                }
                Err(error) => return Err(forge_error(activity, ApiError::client(error))),
            };
            let page = leniently(&page, &place, &activity).map_err(|error| unreadable(&activity, &error))?;
            if see(page.elements).is_break() || page.last {
                return Ok(());
            }
            place.advance();
        }
        tracing::warn!(
            activity,
            entries = place.at,
            "a listing is looked through no further"
        );
        Ok(())
    }

    async fn page(
        &self,
        activity: &str,
        endpoint: &(impl Endpoint + Sync),
        place: &Place,
    ) -> Result<http::Response<bytes::Bytes>, CallError> {
        let unusable = |error: String| CallError::Unusable(format!("{activity}: {error}"));
        let mut url = self
            .address(&endpoint.endpoint())
            .map_err(|error| unusable(error.to_string()))?;
        endpoint.parameters().add_to_url(&mut url);
        url.query_pairs_mut()
            .append_pair("per_page", &place.size().to_string())
            .append_pair("page", &place.page().to_string());
        let request = http::Request::builder()
            .method(endpoint.method())
            .uri(url.as_str());
        let largest = if place.size() == 1 {
            LARGEST_ANSWER
        } else {
            LARGEST_PAGE
        };
        self.send(request, Vec::new(), largest).await
    }
}

/// Whether a smaller page may be had where this one cannot. GitLab's own servers give up on a page that takes them too
/// long with one of these.
fn is_too_much(error: &CallError) -> bool {
    match error {
        CallError::TooLarge { .. } | CallError::TooSlow(_) => true,
        CallError::Status { status, .. } => {
            matches!(*status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)
        }
        _ => false,
    }
}

fn unreadable(activity: &str, error: &serde_json::Error) -> ForgeError {
    ForgeError::Unexpected {
        activity: activity.to_owned(),
        reason: cut(&error.to_string()),
    }
}

fn strictly<T: DeserializeOwned>(
    page: &http::Response<bytes::Bytes>,
    place: &Place,
) -> Result<Page<T>, serde_json::Error> {
    let elements: Vec<T> = serde_json::from_slice(page.body())?;
    let last = is_last_page(page.headers(), elements.len(), place.size());
    Ok(Page { elements, last })
}

/// Without the elements that make no sense: they are nobody's but their own merge request's trouble.
fn leniently<T: DeserializeOwned>(
    page: &http::Response<bytes::Bytes>,
    place: &Place,
    activity: &str,
) -> Result<Page<T>, serde_json::Error> {
    if let Ok(page) = strictly(page, place) {
        return Ok(page);
    }
    let values: Vec<Value> = serde_json::from_slice(page.body())?;
    let last = is_last_page(page.headers(), values.len(), place.size());
    let mut elements = Vec::with_capacity(values.len());
    for (value, at) in values.into_iter().zip(place.at + 1..) {
        let number = ["iid", "id"].iter().find_map(|name| value.get(name)?.as_u64());
        match serde_json::from_value(value) {
            Ok(element) => elements.push(element),
            Err(error) => {
                let error = cut(&error.to_string());
                tracing::warn!(
                    activity,
                    place = at,
                    number,
                    error,
                    "an entry of a listing is left out"
                );
            }
        }
    }
    Ok(Page { elements, last })
}

/// GitLab says which page comes next, or has none to say it (`x-next-page` empty, no `rel="next"`).
fn is_last_page(headers: &HeaderMap, entries: usize, asked: usize) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("x-next-page"), text("link")) {
        (Some(next), _) => next.trim().is_empty(),
        (None, Some(links)) => !links.contains("rel=\"next\""),
        (None, None) => entries < asked,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::next_named(&[("x-next-page", "3")], 2, false)]
    #[case::none_named(&[("x-next-page", "")], 100, true)]
    #[case::link(&[("link", r#"<https://h/?page=2>; rel="next""#)], 2, false)]
    #[case::no_next_link(&[("link", r#"<https://h/?page=1>; rel="first""#)], 100, true)]
    #[case::silent_and_full(&[], 100, false)]
    #[case::silent_and_short(&[], 99, true)]
    fn the_last_page_is_the_one_without_a_next(
        #[case] said: &[(&'static str, &str)],
        #[case] entries: usize,
        #[case] last: bool,
    ) {
        let headers = said
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        assert_eq!(is_last_page(&headers, entries, 100), last);
    }

    #[test]
    fn smaller_pages_meet_the_larger_ones_again() {
        let mut place = Place { at: 0, size: 0 };
        let mut asked = Vec::new();
        // The elements 3 and 14 have to be asked for alone.
        while place.at < 200 {
            let (from, to) = (place.at, place.at + place.size());
            let alone = |element: usize| (from..to).contains(&element) && place.size() > 1;
            if (alone(3) || alone(14)) && place.shrink() {
                continue;
            }
            asked.push((place.page(), place.size()));
            place.advance();
        }
        let ones = (1..=20).map(|page| (page, 1));
        let tens = (3..=10).map(|page| (page, 10));
        let expected: Vec<_> = ones.chain(tens).chain([(2, 100)]).collect();
        assert_eq!(asked, expected);
        assert!(!Place { at: 0, size: 2 }.shrink());
    }
}

//! Answers: one thing, or one page of many with GitLab's headers.

use axum::Json;
use axum::response::IntoResponse;
use http::{HeaderValue, StatusCode, Uri};
use serde_json::Value;

use super::core::Core;
use super::failure::{Answer, Failure};
use super::params::Params;

pub(super) fn ok(body: Value) -> Answer {
    Ok(Json(body).into_response())
}

pub(super) fn created(body: Value) -> Answer {
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

pub(super) fn no_content() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Which page was asked for.
pub(super) struct Paging {
    page: usize,
    per_page: usize,
}

impl Paging {
    pub(super) fn read(params: &Params) -> Result<Self, Failure> {
        let page = params.number("page")?.unwrap_or(1).max(1);
        let per_page = params.number("per_page")?.unwrap_or(20).clamp(1, 100);
        let small = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Self {
            page: small(page),
            per_page: small(per_page),
        })
    }

    /// The items of this page.
    pub(super) fn cut<'a, T>(&self, items: &'a [T]) -> &'a [T] {
        let from = (self.page - 1).saturating_mul(self.per_page).min(items.len());
        let to = from.saturating_add(self.per_page).min(items.len());
        &items[from..to]
    }

    /// The answer for this page, with `X-Page` and the like, and `Link`.
    pub(super) fn answer(&self, core: &Core, uri: &Uri, total: usize, body: Vec<Value>) -> Answer {
        let pages = total.div_ceil(self.per_page).max(1);
        let mut response = Json(Value::Array(body)).into_response();
        let next = (self.page < pages).then(|| self.page + 1);
        let previous = (self.page > 1).then(|| self.page - 1);
        let number = |page: Option<usize>| page.map(|page| page.to_string()).unwrap_or_default();
        let mut links = Vec::new();
        for (relation, page) in [
            ("prev", previous),
            ("next", next),
            ("first", Some(1)),
            ("last", Some(pages)),
        ] {
            if let Some(page) = page {
                links.push(format!("<{}>; rel=\"{relation}\"", self.address(core, uri, page)));
            }
        }
        for (name, value) in [
            ("x-page", self.page.to_string()),
            ("x-per-page", self.per_page.to_string()),
            ("x-next-page", number(next)),
            ("x-prev-page", number(previous)),
            ("x-total", total.to_string()),
            ("x-total-pages", pages.to_string()),
            ("link", links.join(", ")),
        ] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        Ok(response)
    }

    fn address(&self, core: &Core, uri: &Uri, page: usize) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (key, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            if !["page", "per_page", "private_token"].contains(&key.as_ref()) {
                query.append_pair(&key, &value);
            }
        }
        query
            .append_pair("page", &page.to_string())
            .append_pair("per_page", &self.per_page.to_string());
        format!(
            "{}{}?{}",
            core.base.origin().ascii_serialization(),
            uri.path(),
            query.finish()
        )
    }
}

/// One page of things that are already written out.
pub(super) fn page(core: &Core, uri: &Uri, params: &Params, items: Vec<Value>) -> Answer {
    let paging = Paging::read(params)?;
    let body = paging.cut(&items).to_vec();
    paging.answer(core, uri, items.len(), body)
}

//! HTML under construction. Text goes through `text`, which escapes it; only fixed markup goes through `raw`.

use jiff::Timestamp;

use crate::sandbox::git::FileDiff;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:0 1rem 4rem;color:#222}\
header{display:flex;gap:1rem;align-items:center;border-bottom:1px solid #ddd;padding:.6rem 0;margin-bottom:1.2rem}\
header form,header a.sign{margin-left:auto}h1{font-size:1.5rem;margin:.4rem 0}h2{font-size:1.1rem;margin:1.8rem 0 .5rem}\
h3{font-size:.95rem;margin:1rem 0 .3rem;font-weight:600}h4{font-size:1.05rem;margin:.3rem 0 .6rem}\
.dim{color:#666}a{color:#1a5dab}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f6f6f7;border:1px solid #e3e3e6;border-radius:.3rem;padding:.7rem;margin:.3rem 0 1rem;font-size:13px}\
pre span{display:block;min-height:1.3em}.add{background:#dff5e1}.del{background:#fbe3e4}.at{color:#777}\
.state{border-radius:1rem;padding:.1rem .7rem;color:#fff;background:#666;font-size:.85rem}\
.opened,.success{background:#1f7a3a}.merged{background:#1a5dab}.closed,.failed{background:#b3261e}.running,.pending{background:#a15c00}\
.written{border:1px solid #e3e3e6;border-radius:.3rem;padding:.3rem .9rem;overflow-x:auto}.written td,.written th{border:1px solid #e3e3e6;padding:.25rem .6rem;text-align:left}\
blockquote{border-left:3px solid #ddd;margin:.5rem 0;padding-left:.8rem;color:#444}code{background:#f2f2f4;border-radius:.2rem;padding:.05rem .25rem;font-size:.9em;overflow-wrap:anywhere}\
.lines a{display:inline-block;width:3.5em;color:#777;text-decoration:none}.lines span:target{background:#fff3c4}\
table{border-collapse:collapse}td{padding:.25rem 1.2rem .25rem 0;vertical-align:top}\
.acts{display:flex;gap:.6rem;margin:1rem 0}button{font:inherit;padding:.3rem 1rem;border:1px solid #bbb;border-radius:.3rem;background:#fff;cursor:pointer}\
button.main{background:#1a5dab;border-color:#1a5dab;color:#fff}textarea,input{font:inherit;width:100%;box-sizing:border-box;padding:.4rem;margin:.3rem 0 .6rem}\
.told{border-left:4px solid #b3261e;background:#fbe3e4;padding:.5rem .8rem}";

/// A page. It is never scripted.
pub(super) struct Page(String);

impl Page {
    pub(super) fn new(title: &str) -> Self {
        let mut page = Self(String::from(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\">",
        ));
        page.element("title", title);
        page.raw("<style>");
        page.raw(STYLE);
        page.raw("</style></head><body>");
        page
    }

    pub(super) fn raw(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    pub(super) fn text(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '&' => self.0.push_str("&amp;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                _ => self.0.push(letter),
            }
        }
    }

    pub(super) fn element(&mut self, name: &'static str, text: &str) {
        self.raw("<");
        self.raw(name);
        self.raw(">");
        self.text(text);
        self.raw("</");
        self.raw(name);
        self.raw(">");
    }

    /// An element with one attribute.
    pub(super) fn element_with(
        &mut self,
        name: &'static str,
        attribute: &'static str,
        value: &str,
        text: &str,
    ) {
        self.raw("<");
        self.raw(name);
        self.raw(" ");
        self.raw(attribute);
        self.raw("=\"");
        self.text(value);
        self.raw("\">");
        self.text(text);
        self.raw("</");
        self.raw(name);
        self.raw(">");
    }

    pub(super) fn link(&mut self, address: &str, text: &str) {
        self.element_with("a", "href", address, text);
    }

    /// A state in its colour.
    pub(super) fn state(&mut self, word: &str) {
        self.element_with("span", "class", &format!("state {word}"), word);
    }

    /// Who did something, and when.
    pub(super) fn by(&mut self, who: &str, what: &str, at: Timestamp) {
        self.raw("<h3>");
        self.text(&format!("@{who} {what}"));
        self.raw(" <span class=\"dim\">");
        self.text(&shown(at));
        self.raw("</span></h3>");
    }

    pub(super) fn begin_form(&mut self, action: &str) {
        self.raw("<form method=\"post\" action=\"");
        self.text(action);
        self.raw("\">");
    }

    pub(super) fn hidden(&mut self, name: &'static str, value: &str) {
        self.raw("<input type=\"hidden\" name=\"");
        self.raw(name);
        self.raw("\" value=\"");
        self.text(value);
        self.raw("\">");
    }

    /// One changed file, line by line.
    pub(super) fn diff(&mut self, file: &FileDiff) {
        let what = match file.kind {
            'A' => "added",
            'D' => "deleted",
            'R' => "renamed",
            _ => "changed",
        };
        self.raw("<h3>");
        self.text(&file.new_path);
        self.raw(" <span class=\"dim\">");
        self.text(what);
        self.raw("</span></h3><pre>");
        for line in file.text.lines() {
            let class = match line.as_bytes().first() {
                Some(b'+') => "add",
                Some(b'-') => "del",
                Some(b'@') => "at",
                _ => "",
            };
            self.element_with("span", "class", class, line);
        }
        self.raw("</pre>");
    }

    pub(super) fn finish(mut self) -> String {
        self.raw("</body></html>");
        self.0
    }
}

/// A time as people read it, to the minute.
pub(super) fn shown(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn nothing_gets_out_of_an_attribute_or_a_text() {
        let mut page = Page::new("<t>");
        page.link("/\" onclick=\"x", "</a><script>");
        page.hidden("sha", "'><b>");
        let html = page.finish();
        assert!(html.contains("<title>&lt;t&gt;</title>"));
        assert!(html.contains("<a href=\"/&quot; onclick=&quot;x\">&lt;/a&gt;&lt;script&gt;</a>"));
        assert!(html.contains("value=\"&#39;&gt;&lt;b&gt;\""));
    }
}

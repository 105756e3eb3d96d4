//! Markdown as GitLab shows it, as far as people and Landfall write it: tables, lists, code, links, folded parts.
//! Anybody writes here, so what comes out is made of our own markup only: HTML in a text stands there as text, but for
//! the few tags that fold and break lines, and a link leads to a page and nowhere else.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::html::Page;

/// A text as its readers see it.
pub(super) fn render(page: &mut Page, text: &str) {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut writer = Writer {
        page,
        open: Vec::new(),
        html: String::new(),
        in_head: false,
        links: Vec::new(),
    };
    writer.page.raw("<div class=\"written\">");
    for event in Parser::new_ext(text, options) {
        writer.event(event);
    }
    writer.pour_html();
    while let Some(tag) = writer.open.pop() {
        writer.page.raw(tag.end());
    }
    writer.page.raw("</div>");
}

/// The tags that a text may bring itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Folding {
    Details,
    Summary,
}

impl Folding {
    fn end(self) -> &'static str {
        match self {
            Self::Details => "</details>",
            Self::Summary => "</summary>",
        }
    }
}

struct Writer<'a> {
    page: &'a mut Page,
    open: Vec<Folding>,
    /// A block of HTML so far: it comes line by line.
    html: String,
    in_head: bool,
    /// Whether each link that is open leads anywhere.
    links: Vec<bool>,
}

impl Writer<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Html(html) | Event::InlineHtml(html) => {
                self.html.push_str(&html);
                return;
            }
            _ => self.pour_html(),
        }
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Code(code) => self.page.element("code", &code),
            Event::SoftBreak => self.page.text("\n"),
            Event::HardBreak => self.page.raw("<br>"),
            Event::Rule => self.page.raw("<hr>"),
            Event::TaskListMarker(done) => self.page.raw(if done { "☑ " } else { "☐ " }),
            Event::Text(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text)
            | Event::FootnoteReference(text)
            | Event::Html(text)
            | Event::InlineHtml(text) => self.page.text(&text),
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Paragraph => self.page.raw("<p>"),
            Tag::Heading { .. } => self.page.raw("<h4>"),
            Tag::BlockQuote(_) => self.page.raw("<blockquote>"),
            Tag::CodeBlock(_) => self.page.raw("<pre>"),
            Tag::List(None) => self.page.raw("<ul>"),
            Tag::List(Some(_)) => self.page.raw("<ol>"),
            Tag::Item => self.page.raw("<li>"),
            Tag::Table(_) => self.page.raw("<table>"),
            Tag::TableHead => {
                self.in_head = true;
                self.page.raw("<tr>");
            }
            Tag::TableRow => self.page.raw("<tr>"),
            Tag::TableCell => self.page.raw(if self.in_head { "<th>" } else { "<td>" }),
            Tag::Emphasis => self.page.raw("<em>"),
            Tag::Strong => self.page.raw("<strong>"),
            Tag::Strikethrough => self.page.raw("<del>"),
            // A picture would be fetched from wherever its writer likes: its address is a link to press.
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                let leads = leads_to_a_page(dest_url);
                self.links.push(leads);
                if leads {
                    self.page.raw("<a rel=\"nofollow noreferrer\" href=\"");
                    self.page.text(dest_url);
                    self.page.raw("\">");
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        self.page.raw(match tag {
            TagEnd::Paragraph => "</p>",
            TagEnd::Heading(_) => "</h4>",
            TagEnd::BlockQuote(_) => "</blockquote>",
            TagEnd::CodeBlock => "</pre>",
            TagEnd::List(false) => "</ul>",
            TagEnd::List(true) => "</ol>",
            TagEnd::Item => "</li>",
            TagEnd::Table => "</table>",
            TagEnd::TableHead => {
                self.in_head = false;
                "</tr>"
            }
            TagEnd::TableRow => "</tr>",
            TagEnd::TableCell if self.in_head => "</th>",
            TagEnd::TableCell => "</td>",
            TagEnd::Emphasis => "</em>",
            TagEnd::Strong => "</strong>",
            TagEnd::Strikethrough => "</del>",
            TagEnd::Link | TagEnd::Image if self.links.pop() == Some(true) => "</a>",
            _ => "",
        });
    }

    /// HTML that stood in the text: comments are not shown, tags that fold and break lines do so, the rest is text.
    fn pour_html(&mut self) {
        let html = std::mem::take(&mut self.html);
        let mut rest = html.as_str();
        while let Some(at) = rest.find('<') {
            self.page.text(&rest[..at]);
            rest = &rest[at..];
            if let Some(comment) = rest.strip_prefix("<!--") {
                rest = comment.split_once("-->").map_or("", |(_, after)| after);
                continue;
            }
            let end = rest.find('>').map_or(rest.len(), |end| end + 1);
            let (tag, after) = rest.split_at(end);
            self.tag(tag);
            rest = after;
        }
        self.page.text(rest);
    }

    fn tag(&mut self, tag: &str) {
        let opened = match tag {
            "<br>" | "<br/>" | "<br />" => return self.page.raw("<br>"),
            "<details>" => Some(("<details>", Folding::Details)),
            "<details open>" => Some(("<details open>", Folding::Details)),
            "<summary>" => Some(("<summary>", Folding::Summary)),
            _ => None,
        };
        if let Some((markup, folding)) = opened {
            self.open.push(folding);
            return self.page.raw(markup);
        }
        // Only what was opened last is closed: nothing gets out of the part that it was written into.
        if let Some(last) = self.open.last().filter(|last| last.end() == tag) {
            self.page.raw(last.end());
            self.open.pop();
        } else {
            self.page.text(tag);
        }
    }
}

/// Whether an address is a page's: nothing that runs, mails or downloads.
fn leads_to_a_page(address: &str) -> bool {
    ["http://", "https://", "/", "#"]
        .iter()
        .any(|start| address.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::{Page, render};

    fn rendered(text: &str) -> String {
        let mut page = Page::new("t");
        render(&mut page, text);
        let html = page.finish();
        let start = html.find("<div class=\"written\">").unwrap() + "<div class=\"written\">".len();
        html[start..html.rfind("</div>").unwrap()].replace('\n', " ")
    }

    #[test]
    fn what_is_written_is_shown_and_does_nothing() {
        for (text, expected) in [
            ("### A *b* **c**", "<h4>A <em>b</em> <strong>c</strong></h4>"),
            ("a `<b>` & c", "<p>a <code>&lt;b&gt;</code> &amp; c</p>"),
            (
                "|a|b|\n|-|-|\n|1<br>2|`x`|",
                "<table><tr><th>a</th><th>b</th></tr><tr><td>1<br>2</td><td><code>x</code></td></tr></table>",
            ),
            ("<!-- landfall:report 1 -->\nhello", " <p>hello</p>"),
            (
                "[l](http://h/-/blob/main/a%20b.yaml#L3)",
                "<p><a rel=\"nofollow noreferrer\" href=\"http://h/-/blob/main/a%20b.yaml#L3\">l</a></p>",
            ),
            ("[l](javascript:alert(1)) [m](data:x)", "<p>l m</p>"),
            (
                "![p](https://e.example/x.png)",
                "<p><a rel=\"nofollow noreferrer\" href=\"https://e.example/x.png\">p</a></p>",
            ),
            (
                "<details><summary>Plan</summary>\n\n- a\n\n</details>\n",
                "<details><summary>Plan</summary> <ul><li>a</li></ul></details> ",
            ),
            ("a </details> b", "<p>a &lt;/details&gt; b</p>"),
            ("<details>\n\nx", "<details> <p>x</p></details>"),
            (
                "<script>alert(1)</script>",
                "&lt;script&gt;alert(1)&lt;/script&gt;",
            ),
            (
                "a <img src=x onerror=y> b",
                "<p>a &lt;img src=x onerror=y&gt; b</p>",
            ),
            ("<details onclick=x>", "&lt;details onclick=x&gt;"),
        ] {
            assert_eq!(rendered(text), expected, "{text}");
        }
    }
}

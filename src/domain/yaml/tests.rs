//! What is read, and where it stands.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn read(text: &str) -> Document {
    let (document, findings) = parse("a.yaml", text.as_bytes());
    assert_eq!(findings, []);
    document.expect("it is read")
}

#[rstest]
#[case("1", json!(1))]
#[case("-1", json!(-1))]
#[case("+1", json!(1))]
#[case("18446744073709551615", json!(u64::MAX))]
#[case("-9223372036854775808", json!(i64::MIN))]
#[case("1.5", json!(1.5))]
#[case("1e3", json!(1000.0))]
#[case("true", json!(true))]
#[case("False", json!(false))]
#[case("null", Value::Null)]
#[case("~", Value::Null)]
#[case("", Value::Null)]
// Text, though other readers take it for something else: an account id, a port, a base, a country.
#[case("012345678901", json!("012345678901"))]
#[case("0777", json!("0777"))]
#[case("1_000", json!("1_000"))]
#[case("0x1F", json!("0x1F"))]
#[case("no", json!("no"))]
#[case("12:30", json!("12:30"))]
#[case("1.2.3", json!("1.2.3"))]
#[case("2027-01-31", json!("2027-01-31"))]
#[case("'1'", json!("1"))]
#[case("\"true\"", json!("true"))]
#[case("\"\"", json!(""))]
#[case("e5", json!("e5"))]
#[case(".", json!("."))]
fn plain_values_are_typed_by_the_core_schema(#[case] text: &str, #[case] expected: Value) {
    assert_eq!(read(&format!("a: {text}\n")).value, json!({ "a": expected }));
}

#[rstest]
#[case("18446744073709551616")]
#[case("-9223372036854775809")]
#[case("1e999")]
#[case(".inf")]
#[case("-.INF")]
#[case(".NaN")]
fn numbers_that_json_cannot_hold_are_refused(#[case] text: &str) {
    let (_, findings) = parse("a.yaml", format!("a: {text}\n").as_bytes());
    let told: Vec<(Code, u32, u32)> = findings
        .iter()
        .map(|f| (f.code, f.place.line, f.place.column))
        .collect();
    assert_eq!(told, [(Code::InvalidValue, 1, 4)]);
}

#[test]
fn keys_and_values_are_found_by_pointer() {
    let document = read("a:\n  - b/c: 1\n    \"d~é\": [x, y]\n  - z\n");
    let at = |place: Place| (place.line, place.column);
    assert_eq!(at(document.places.of_key("/a")), (1, 1));
    assert_eq!(at(document.places.of_value("/a/0")), (2, 5));
    assert_eq!(at(document.places.of_key("/a/0/b~1c")), (2, 5));
    assert_eq!(at(document.places.of_value("/a/0/b~1c")), (2, 10));
    // Columns count characters, not bytes.
    assert_eq!(at(document.places.of_value("/a/0/d~0é/1")), (3, 16));
    assert_eq!(at(document.places.of_key("/a/1")), (4, 5));
    // What is not there is told at what would hold it.
    assert_eq!(at(document.places.of_value("/a/0/missing/deeper")), (2, 5));
}

#[test]
fn a_mapping_with_numbers_for_keys_is_not_taken_for_a_list() {
    let document = read("1: a\n0: b\n");
    assert_eq!(document.value, json!({ "1": "a", "0": "b" }));
    assert_eq!(document.places.of_value("/0").line, 2);
}

#[test]
fn what_stands_after_a_part_that_is_not_taken_is_read_all_the_same() {
    let (document, findings) = parse("a.yaml", b"a: &x 1\nb: *x\nc: !t 2\na: 3\nd: 4\n");
    let told: Vec<(Code, u32)> = findings.iter().map(|f| (f.code, f.place.line)).collect();
    let feature = Code::YamlFeature;
    assert_eq!(
        told,
        [(feature, 1), (feature, 2), (feature, 3), (Code::DuplicateKey, 4)]
    );
    let document = document.expect("it is read");
    assert_eq!(document.value, json!({ "a": 1, "b": null, "c": 2, "d": 4 }));
    assert!(document.places.is_doubtful("/b") && document.places.is_doubtful("/c"));
    assert!(!document.places.is_doubtful("/a"));
}

#[test]
fn lines_may_end_as_on_windows() {
    let document = read("a: 1\r\nb:\r\n  c: x\r\n");
    assert_eq!(document.value, json!({ "a": 1, "b": { "c": "x" } }));
    assert_eq!(
        document.places.of_value("/b/c"),
        Place {
            path: "a.yaml".into(),
            line: 3,
            column: 6
        }
    );
}

/// Files that made other parsers slow, large or wrong.
#[rstest]
#[case::billion_laughs("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n".into())]
#[case::long_keys_above_many_values(format!("{}[{}]", format!("{}: ", "k".repeat(1000)), "1,".repeat(15_000)))]
#[case::deep_indentation((0..300).map(|n| format!("{}- \n", " ".repeat(n))).collect())]
#[case::many_anchors("- &a 1\n".repeat(15_000))]
#[case::unclosed_quotes("\"".repeat(200_000))]
#[case::many_documents("---\n".repeat(50_000))]
#[case::one_long_line("x".repeat(250_000))]
#[case::colons(":".repeat(250_000))]
#[case::question_marks("? ".repeat(100_000))]
#[case::braces("{".repeat(1000) + &"}".repeat(1000))]
#[case::block_text(format!("a: |\n{}", "  x\n".repeat(60_000)))]
#[case::nul("a: \u{0}\n".into())]
#[case::bell("a: \"\u{7}\"\n".into())]
#[case::key_of_an_alias("? *a\n: 1\n".into())]
#[case::mapping_in_a_key("? {a: 1}\n: 2\n".into())]
fn hostile_files_are_answered(#[case] text: String) {
    let (document, findings) = parse("a.yaml", text.as_bytes());
    assert!(document.is_some() || !findings.is_empty());
    assert!(findings.len() <= MOST_FINDINGS);
}

/// What the whole of a text costs, without a clock: the events that its parser makes of it.
fn events(text: &str) -> usize {
    let mut parser = reader::parser(text);
    let mut events = 0;
    while let Some(Ok(_)) = parser.next_event() {
        events += 1;
    }
    events
}

/// What a document holds: its keys and values, the bytes of its texts with those of the places, and how deep it goes.
fn held(value: &Value) -> (usize, usize, usize) {
    let parts: Vec<(usize, (usize, usize, usize))> = match value {
        Value::Array(list) => list.iter().map(|value| (0, held(value))).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (2 * key.len(), held(value)))
            .collect(),
        Value::String(text) => return (1, text.len(), 0),
        _ => return (1, 0, 0),
    };
    let keys = if value.is_object() { parts.len() } else { 0 };
    parts
        .into_iter()
        .fold((1 + keys, 0, 1), |(nodes, bytes, deep), (key, part)| {
            (nodes + part.0, bytes + key + part.1, deep.max(1 + part.2))
        })
}

/// Time and memory are bounded by the size of the file: a line of events for its bytes, and no more held than stands
/// in it. An escape such as `\P` is one byte longer than it looks, and keys are held twice.
fn assert_bounded(text: &str) {
    assert!(
        events(text) <= 3 * text.len() + 8,
        "{} events of {} bytes",
        events(text),
        text.len()
    );
    let (document, findings) = parse("a.yaml", text.as_bytes());
    assert!(document.is_some() || !findings.is_empty());
    assert!(findings.len() <= MOST_FINDINGS);
    let said: usize = findings.iter().map(|f| f.message.len() + f.hint.len()).sum();
    assert!(said <= MOST_FINDINGS * 400, "{said} bytes of findings");
    if let Some(document) = document {
        let (nodes, bytes, deep) = held(&document.value);
        assert!(
            nodes <= reader::MOST_NODES && deep <= reader::DEEPEST,
            "{nodes} nodes, {deep} deep"
        );
        assert!(bytes <= 3 * text.len(), "{bytes} bytes of {}", text.len());
    }
}

#[rstest]
#[case::deep_lists("[", 5_000, "")]
#[case::deep_mappings("{a: ", 5_000, "")]
#[case::deep_blocks("- ", 20_000, "x")]
#[case::deep_keys("? ", 20_000, "x")]
#[case::wide("[1,", 1, "2,")]
#[case::anchors_of_nothing("&a ", 50_000, "")]
#[case::tags_of_nothing("!a ", 50_000, "")]
#[case::empty_values("- \n", 60_000, "")]
#[case::empty_keys(": \n", 60_000, "")]
#[case::empty_documents("---\n...\n", 20_000, "")]
#[case::comments("# a\n", 60_000, "")]
#[case::escapes("\"\\P\\L\\N\\_\": 1\n", 15_000, "")]
#[case::folded(">-\n a\n\n b\n", 1, "x")]
#[case::one_long_key("a", 200_000, ": 1")]
#[case::quotes("'", 200_000, "")]
#[case::flow_in_flow("[{a: [", 3_000, "]}]")]
#[case::colons_in_flow("{::", 20_000, "}")]
fn what_a_file_costs_is_bounded_by_its_size(#[case] piece: &str, #[case] times: usize, #[case] end: &str) {
    assert_bounded(&format!("{}{end}", piece.repeat(times)));
}

proptest! {
    #[test]
    fn whatever_a_file_holds_it_costs_no_more_than_its_size(
        pieces in proptest::collection::vec(
            (
                proptest::sample::select(vec![
                    "a: ", "- ", "? ", "[", "]", "{", "}", ",", "&a ", "*a", "!t ", "<<: ", "\n", "  ", "\"", "'", "|\n",
                    ">-\n", "#", "---\n", "...\n", "%", "@", "`", "x", "1", "~", "\\P", "\t", "\u{2028}", "é", "\u{feff}",
                ]),
                1_usize..80,
            ),
            0..40,
        )
    ) {
        let text: String = pieces.iter().map(|(piece, times)| piece.repeat(*times)).collect();
        assert_bounded(&text);
    }
}

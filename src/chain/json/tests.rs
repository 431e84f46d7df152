//! Any JSON is read as serde_json reads it into values of its own, and what is none is given back as it came.

use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Option<Value> {
    let json = Json::begun_by(text.as_bytes().to_vec()).ok()?;
    Some(json.to_value())
}

#[test]
fn an_answer_is_looked_at_where_it_stands() {
    let text =
        r#" {"id": 1, "list": [null, true, "a\u0062\n", -7, 2.5], "of": {"of": {}}, "id": "0x2"} "#;
    let json = Json::begun_by(text.as_bytes().to_vec()).unwrap();
    let part = json.part();
    assert_eq!(part.at("id").as_str(), Some("0x2"), "the last one counts");
    let items: Vec<Part> = part.at("list").items().unwrap().collect();
    assert!(items[0].is_null() && items[1].as_bool() == Some(true));
    assert_eq!(items[2].as_str(), Some("ab\n"));
    assert_eq!(
        (items[3].as_u64(), items[3].as_f64()),
        (None, Some(-7.0)),
        "a negative number is none without a sign"
    );
    assert_eq!(items[4].as_f64(), Some(2.5));
    assert_eq!(json.items(), None);
    assert_eq!(json.get("list").unwrap().items().unwrap().len(), 5);
    assert!(part.at("of").at("of").is_object());
    for nothing in [part.at("x"), part.at("x").at("y"), items[1].at("id")] {
        assert!(nothing.is_null() && nothing.items().is_none());
        assert_eq!(nothing.fields().count(), 0);
    }
    assert_eq!((json.get("x"), json.get("list").is_some()), (None, true));
}

#[test]
fn only_what_shows_its_own_end_may_be_followed_by_anything() {
    let begun = |bytes: &[u8]| Json::begun_by(bytes.to_vec()).map(|json| json.to_string());
    for (bytes, expected) in [
        (&b"{\"a\":1}"[..], "{\"a\":1}"),
        (b"{\"a\":1}\xff\xfe", "{\"a\":1}"),
        (b"[1]]", "[1]"),
        (b" 5 ", "5"),
        (b"\"x\"", "\"x\""),
    ] {
        assert_eq!(begun(bytes), Ok(expected.to_owned()));
    }
    for bytes in [
        &b""[..],
        b"5 5",
        b"5\xff",
        b"\"x\"\xff",
        b"{\"a\":1",
        b"{\"a\xff\":1}",
        b"<html>",
        b"[1,]",
    ] {
        assert_eq!(begun(bytes), Err(bytes.to_vec()), "{bytes:?}");
    }
    // No answer is so deep that it ends the program.
    assert!(Json::begun_by("[".repeat(100_000).into_bytes()).is_err());
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |below| {
        prop_oneof![
            prop::collection::vec(below.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,3}", below, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(value in any_value()) {
        let text = value.to_string();
        let expected: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(read(&text), Some(expected));
        prop_assert_eq!(Json::from(&value).to_value(), value);
    }

    #[test]
    fn any_text_is_read_as_serde_reads_it(text in r#"[\[\]{}"\\,:0-9eE.\-+ntruefalse u]{0,24}"#) {
        let theirs: Option<Value> = serde_json::from_str(&text).ok();
        let ours = read(&text);
        prop_assert!(theirs.is_none() || theirs == ours, "{:?}", ours);
    }
}

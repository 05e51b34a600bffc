//! The scanner against the general reader.

use proptest::collection::vec;
use proptest::prelude::*;

use super::scan::scan;
use super::*;
use crate::frame::HeaderEncoding;
use crate::header::Language;

type Seen = (
    i32,
    Language,
    i32,
    i32,
    i32,
    Option<String>,
    Vec<(String, String)>,
);

/// Everything that a header says; fields sorted, the last of equal names, as the general reader keeps them.
fn seen(header: &Header<'_>) -> Seen {
    let mut fields = std::collections::BTreeMap::new();
    for (key, value) in header.fields.iter() {
        fields.insert(key.to_owned(), value.to_cow().into_owned());
    }
    let remark = header
        .remark
        .as_ref()
        .map(|remark| remark.to_cow().into_owned());
    let fields = fields.into_iter().collect();
    (
        header.code,
        header.language,
        header.version,
        header.opaque,
        header.flag,
        remark,
        fields,
    )
}

/// fastjson reads a whole number as an integer, however it is written.
#[test]
fn whole_numbers_are_integers_however_they_are_written() {
    let read = |number: &str| {
        let text = format!(
            r#"{{"code":{number},"flag":0.0,"language":"JAVA","opaque":-0.0,"version":401.0}}"#
        );
        let limits = FrameLimits::default();
        Header::decode(HeaderEncoding::Json, text.as_bytes(), &limits)
            .map(|header| (header.code, header.flag, header.opaque, header.version))
    };
    for (number, code) in [
        ("0.0", 0),
        ("1.0", 1),
        ("1e3", 1_000),
        ("1.1E1", 11),
        ("-5.00", -5),
        ("2147483647.0", i32::MAX),
        ("-2147483648.0", i32::MIN),
        ("105", 105),
    ] {
        assert_eq!(read(number), Ok((code, 0, 0, 401)), "{number}");
    }
    for number in [
        "0.5",
        "2147483648.0",
        "-2147483649.0",
        "1e30",
        "1e400",
        "01",
        "1.",
        ".5",
    ] {
        assert!(read(number).is_err(), "{number}");
    }
}

/// The scanner either agrees with the general reader or leaves the header to it.
fn agree(text: &str) -> bool {
    let limits = FrameLimits::default();
    let general = general::decode(text, &limits);
    let mut header = Header::empty(HeaderEncoding::Json);
    match scan(text, &limits, &mut header) {
        Ok(_) => {
            let general = general.unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(seen(&header), seen(&general), "{text}");
            true
        }
        Err(Stop::Error(error)) => {
            assert_eq!(general.unwrap_err(), *error, "{text}");
            true
        }
        Err(Stop::Unusual) => false,
    }
}

#[test]
fn ordinary_headers_need_no_general_reader() {
    for line in include_str!("../../../testdata/frames.jsonl").lines() {
        let frame: serde_json::Value = serde_json::from_str(line).unwrap();
        if frame["encoding"] == "json" {
            assert!(agree(&frame["header"].to_string()), "{line}");
        }
    }
    for text in [
        r#"{"code":10,"extFields":{"queueId":0,"batch":true,"i":"K\u0001V\u0002 \ud83d\ude00"},"flag":0,"language":"CPP","opaque":7,"remark":"","version":63}"#,
        "{ \"code\" : 10 ,\n \"extFields\" : { } , \"remark\":null }",
        r#"{"code":"310","extFields":null,"unknown":"x","other":5}"#,
    ] {
        assert!(agree(text), "{text}");
    }
}

#[test]
fn odd_headers_go_to_the_general_reader_and_are_read_there() {
    for text in [
        r#"{"code":1,"extFields":{"\u0061":"x"}}"#,
        r#"{"code":1,"extFields":{"a":{"b":1}}}"#,
        r#"{"code":1,"extFields":{"a":1.5}}"#,
        r#"{"code":1,"language":12}"#,
        r#"{"code":1,"other":[1,2]}"#,
        r#"{"code":1,"extFields":{"a":"1","a":null}}"#,
    ] {
        assert!(!agree(text), "{text}");
        let header = Header::decode(
            HeaderEncoding::Json,
            text.as_bytes(),
            &FrameLimits::default(),
        )
        .unwrap();
        assert_eq!(header.code, 1);
    }
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        any::<i64>().prop_map(|number| number.to_string()),
        r#""[a\\\\"u01d8/ ]{0,12}""#,
        Just("true".to_owned()),
        Just("null".to_owned()),
        Just("-0".to_owned()),
        Just("1e3".to_owned()),
        Just("{}".to_owned()),
    ]
}

proptest! {
    #[test]
    fn scanner_and_general_reader_agree(
        fields in vec(("[a-c]{1,2}", scalar()), 0..6),
        remark in scalar(), opaque in any::<i32>(),
        space in "[ \n\t]{0,2}",
    ) {
        let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{space}\"{key}\"{space}:{value}{space}")).collect();
        agree(&format!(
            "{space}{{\"code\":310,{space}\"extFields\":{{{}}},\"opaque\":{opaque},\"remark\":{remark}{space}}}", fields.join(",")
        ));
    }

    #[test]
    fn they_agree_on_damaged_headers(at in 0usize..300, with in any::<u8>()) {
        let mut bytes = br#"{"code":10,"extFields":{"queueId":"0","producerGroup":"g","flag":"7","properties":"K\u0001V\u0002TAGS\u0001x\u0002","x":5},"flag":0,"language":"JAVA","opaque":17639,"version":513}"#.to_vec();
        let at = at % bytes.len();
        bytes[at] = with;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            agree(text);
        }
    }
}

use proptest::prelude::*;

use super::*;
use crate::config::{MAX_ERRORS, MAX_FILE_BYTES, Problem};

#[test]
fn yaml_that_a_config_has_no_use_for_is_refused() {
    assert_rows(&[
        ("scope: &a host\n", "1:8: scope: anchors (&name) are not supported in this file (hint: write"),
        ("hosts: &a {path: /a}\n", "1:8: hosts: anchors"),
        ("services: [&a {}, *a]\n", "1:12: services[0]: anchors"),
        ("scope: *a\n", "1:8: while parsing node, found unknown anchor"),
        ("scope: !!str host\n", "1:8: scope: tags (!name) are not supported in this file"),
        ("scope: host\n---\nscope: node\n", "2:1: more than one YAML document in one file"),
        ("? [a, b]\n: c\n", "1:3: the name of a field must be a text"),
        ("{{a: b}: c}\n", "1:2: the name of a field must be a text"),
        ("<<: {scope: host}\n", "1:1: \"<<\": unknown field"),
        ("scope: [host\n", "2:1: "),
        ("scope: \"host\n", "1:8: while scanning a quoted scalar"),
        ("\tscope: host\n", "1:1: found character that cannot start any token"),
        ("scope: host\n\0services: []\n", "2:1: found unprintable character"),
        ("scope: @x\n", "1:8: unexpected character: `@'"),
        ("scope: host: x\n", "1:12: mapping values are not allowed in this context"),
        ("services:\n- name: a\n vip: b\n", "3:2: while parsing a block mapping, did not find expected key"),
    ]);
}

#[test]
fn a_byte_order_mark_and_foreign_line_ends_change_nothing() {
    assert_eq!(load_text(&format!("\u{feff}{LEAST}")), load_text(LEAST));
    assert_eq!(load_text(&LEAST.replace('\n', "\r\n")), load_text(LEAST));
    let crlf = LEAST.replace("10.103.97.2", "x").replace('\n', "\r\n");
    assert!(complaints(&crlf).starts_with("lb.yaml:3:8: services[0].vip: "));
    assert!(complaints("\u{feff}sco: x\n").starts_with("lb.yaml:1:1: sco: "));
}

#[test]
fn a_text_of_a_mebibyte_is_read_and_one_byte_more_is_not() {
    let padded = |bytes: usize| format!("{LEAST}#{}", "x".repeat(bytes - LEAST.len() - 1));
    assert!(load_text(&padded(MAX_FILE_BYTES)).is_ok());
    let errors = load_text(&padded(MAX_FILE_BYTES + 1)).unwrap_err();
    assert_eq!(errors.errors[0].problem, Problem::FileTooLarge { bytes: MAX_FILE_BYTES + 1 });
}

/// [`MAX_ERRORS`] lines, each with a path, a message and a hint.
const MAX_SHOWN: usize = MAX_ERRORS * 1024;

#[test]
fn a_file_made_to_blow_up_is_refused_cheaply() {
    let fill = |unit: &str| unit.repeat(MAX_FILE_BYTES / unit.len());
    let bomb = "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: [*b, *b]\n";
    for (what, text) in [
        ("brackets", fill("[")),
        ("braces", fill("{a: ")),
        ("dashes", fill("- ")),
        ("question marks", fill("? ")),
        ("elements", format!("[{}]", fill("x,").trim_end_matches(',').get(..900_000).unwrap_or_default())),
        ("aliases", bomb.to_owned()),
        ("a long key", format!("{}: [a, b]", "k".repeat(1_000_000))),
        ("quotes", fill("\"")),
        ("anchors", fill("&a ")),
        ("stars", fill("*a ")),
        ("folded", format!("a: >\n{}", fill(" x\n").get(..900_000).unwrap_or_default())),
        ("colons", fill(": ")),
        ("newlines", fill("\n")),
        ("plain words", fill("x ")),
        ("plain lines", fill("x\n")),
        ("a long path", format!("stateDir: {}", "x".repeat(1_000_000))),
        ("a path of many lines", format!("stateDir:\n{}", " x\n".repeat(300_000))),
        ("codes", format!("{LEAST}  health: {{expect: [{}]}}", "200, ".repeat(40_000))),
        ("backends", LEAST.replace("6443]", &format!("6443{}]", ", 10.0.0.1:1".repeat(40_000)))),
        ("services", format!("services: [{}]", "{}, ".repeat(40_000))),
        ("fields", (0..40_000).map(|i| format!("k{i}: 1\n")).collect()),
        ("duplicates", "a: 1\n".repeat(40_000)),
        ("commas in brackets", format!("[{}", fill(",").get(1..).unwrap_or_default())),
    ] {
        let shown = complaints(&text);
        assert!(shown.len() < MAX_SHOWN, "{what}: {} bytes of complaint", shown.len());
    }
}

#[test]
fn more_errors_than_anybody_reads_are_counted_only() {
    let text: String = (0..MAX_ERRORS + 7).map(|i| format!("k{i}: 1\n")).collect();
    let errors = load_text(&text).unwrap_err();
    assert_eq!((errors.errors.len(), errors.omitted), (MAX_ERRORS, 7));
    assert!(errors.to_string().ends_with("\n... and 7 more"));
}

/// Pieces of which many texts are nearly a config.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "services:\n",
            "- ",
            "  ",
            "name: a\n",
            "vip: 10.0.0.1:1\n",
            "backends: ",
            "[10.0.0.2:1]\n",
            "{",
            "}",
            "[",
            "]",
            "health:\n",
            "interval: 1s\n",
            "fall: 0x7\n",
            "\n",
            "&a ",
            "*a ",
            "!t ",
            "? ",
            ": ",
            ", ",
            "---\n",
            "...\n",
            "\"",
            "'",
            "|\n",
            ">\n",
            "#",
            "%YAML 1.2\n",
            "\u{feff}",
            "\r",
            "\t",
            "\0",
            "ä",
            "~",
            "\\x",
        ])
        .prop_map(str::to_owned),
        ".{0,5}",
    ]
}

fn assert_sound(text: &str) {
    match load_text(text) {
        Ok(config) => assert!(!config.services.is_empty(), "a config has a service"),
        Err(errors) => {
            assert!(!errors.errors.is_empty(), "a failure has a reason");
            for error in &errors.errors {
                let position = error.position.unwrap();
                let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
                assert!((1..=lines + 1).contains(&position.line), "{error}: {position} of {lines} lines");
                assert!(position.column >= 1, "{error}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_a_config_or_has_an_error_with_a_place(text in any::<String>()) {
        assert_sound(&text);
    }

    #[test]
    fn near_yaml_is_a_config_or_has_an_error_with_a_place(parts in prop::collection::vec(fragment(), 0..40)) {
        assert_sound(&parts.concat());
    }

    #[test]
    fn a_config_cut_off_or_changed_anywhere_is_a_config_or_has_an_error(
        cut in 0..LEAST.len(),
        insert in fragment(),
        keep in any::<bool>(),
    ) {
        let rest = if keep { &LEAST[cut..] } else { "" };
        assert_sound(&format!("{}{insert}{rest}", &LEAST[..cut]));
    }

    #[test]
    fn no_flag_panics(vip in any::<String>(), backend in any::<String>(), path in any::<String>()) {
        let flags = Overrides {
            vip: Some(vip),
            backends: vec![backend],
            bpffs: Some(path.clone()),
            admin_socket: Some(path),
            ..Overrides::default()
        };
        let _ = load(None, &flags).map_err(|errors| errors.to_string());
    }
}

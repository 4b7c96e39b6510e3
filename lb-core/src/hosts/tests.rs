#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use proptest::{collection::vec, prelude::*};

use super::{in_place::Step, line::Mapping, *};

const NAME: &str = "apiserver.cluster.local";

fn entry(address: &str) -> Entry {
    Entry { address: address.parse::<IpAddr>().unwrap(), hostname: NAME.into() }
}

fn vip() -> Vec<Entry> {
    vec![entry("10.103.97.2")]
}

fn applied(content: &[u8]) -> Vec<u8> {
    apply(content, &vip()).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every address-name pair that a resolver finds, in order.
fn pairs(content: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut pairs = Vec::new();
    for line in line::lines(content) {
        let Some(mapping) = Mapping::parse(line) else { continue };
        pairs.extend(mapping.names.iter().map(|name| (mapping.address.to_vec(), name.to_ascii_lowercase())));
    }
    pairs
}

fn foreign_pairs(content: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    pairs(content).into_iter().filter(|(_, name)| name != NAME.as_bytes()).collect()
}

fn addresses_of_name(content: &[u8]) -> Vec<String> {
    let ours = pairs(content).into_iter().filter(|(_, name)| name == NAME.as_bytes());
    ours.map(|(address, _)| text(&address)).collect()
}

const BLOCK: &str = "# BEGIN lbctl: managed by lbctl, do not edit for=10.103.97.2=apiserver.cluster.local
10.103.97.2 apiserver.cluster.local
# END lbctl
";

#[test]
fn the_block_is_appended_and_removed_again() {
    let old = b"127.0.0.1 localhost\n# a comment\n";
    let new = applied(old);
    assert_eq!(text(&new), format!("{}{BLOCK}", text(old)));
    assert_eq!(remove(&new), old);
}

#[test]
fn a_missing_last_newline_is_missing_again_after_remove() {
    for old in [
        "127.0.0.1 localhost",
        "127.0.0.1 a\r\n::1 b",
        "1.1.1.1 a\r\n::1 b\r",
        "::1 b\r",
        "10.0.0.9 x APIserver.cluster.local\r",
    ] {
        let new = applied(old.as_bytes());
        assert_eq!(addresses_of_name(&new), ["10.103.97.2"], "{old:?}");
        assert_eq!(text(&remove(&new)), old);
    }
}

#[test]
fn a_line_appended_by_others_after_the_block_keeps_the_newline_before_it() {
    let new = [applied(b"127.0.0.1 localhost"), b"10.0.0.7 db\n".to_vec()].concat();
    assert_eq!(applied(&new).iter().filter(|b| **b == b'\n').count(), 5);
    assert_eq!(text(&remove(&new)), "127.0.0.1 localhost\n10.0.0.7 db\n");
    assert_eq!(text(&remove(&applied(&new))), "127.0.0.1 localhost\n10.0.0.7 db\n");
}

#[test]
fn the_block_takes_over_the_dominant_line_ending() {
    let new = applied(b"127.0.0.1 localhost\r\n::1 localhost\r\n");
    assert!(text(&new).ends_with("10.103.97.2 apiserver.cluster.local\r\n# END lbctl\r\n"));
    let new = applied(b"127.0.0.1 a\r\n::1 b\n::1 c\n");
    assert!(text(&new).ends_with(BLOCK));
}

#[test]
fn foreign_lines_for_the_name_are_commented_out() {
    for line in [
        "192.168.0.9 apiserver.cluster.local\n",
        "\t192.168.0.9\tAPISERVER.Cluster.Local # by hand\n",
        "fe80::1%eth0 apiserver.cluster.local\n",
        "::1 apiserver.cluster.local\r\n",
        "10.1 apiserver.cluster.local apiserver.cluster.LOCAL\n",
        "10.0.0.1\x0bapiserver.cluster.local",
    ] {
        let old = format!("127.0.0.1 localhost\n{line}");
        let new = applied(old.as_bytes());
        assert!(text(&new).contains(&format!("\n# lbctl disabled: {line}")), "{line:?}");
        assert_eq!(addresses_of_name(&new), ["10.103.97.2"]);
        assert_eq!(text(&remove(&new)), old);
    }
}

#[test]
fn lines_that_do_not_map_the_name_stay() {
    for line in [
        "#192.168.0.9 apiserver.cluster.local\n",
        "192.168.0.9 apiserver.cluster.local.example\n",
        "192.168.0.9 other # apiserver.cluster.local\n",
        "apiserver.cluster.local\n",
        "192.168.0.9#apiserver.cluster.local\n",
    ] {
        assert_eq!(text(&applied(line.as_bytes())), format!("{line}{BLOCK}"));
    }
}

#[test]
fn a_line_with_other_names_goes_on_serving_them() {
    let old = "10.0.0.5  apiserver.cluster.local\tmaster1 m1 # first\n10.0.0.6 m2\n";
    let new = applied(old.as_bytes());
    let expected =
        "# lbctl split apiserver.cluster.local: 10.0.0.5  apiserver.cluster.local\tmaster1 m1 # first
10.0.0.5 master1 m1 # lbctl: rest of the line above
10.0.0.6 m2
";
    assert_eq!(text(&new), format!("{expected}{BLOCK}"));
    assert_eq!(text(&remove(&new)), old);
}

#[test]
fn a_changed_rest_of_a_split_line_stays() {
    let new = text(&applied(b"10.0.0.5 apiserver.cluster.local m1\n"));
    let edited = new.replace("\n10.0.0.5 m1 ", "\n10.0.0.8 m1 m9 ");
    let expected = "10.0.0.8 m1 m9\n10.0.0.5 apiserver.cluster.local m1\n";
    assert_eq!(text(&remove(edited.as_bytes())), expected);
    assert_eq!(text(&remove(&applied(edited.as_bytes()))), expected);
    let deleted = new.replace("10.0.0.5 m1 # lbctl: rest of the line above\n", "");
    assert_eq!(text(&remove(deleted.as_bytes())), "10.0.0.5 apiserver.cluster.local m1\n");
}

#[test]
fn bytes_that_are_no_utf8_are_kept() {
    let old = b"10.0.0.5 caf\xe9 apiserver.cluster.local # \xff\n\xfe\xff\n";
    let new = applied(old);
    assert!(foreign_pairs(&new).contains(&(b"10.0.0.5".to_vec(), b"caf\xe9".to_vec())));
    assert_eq!(remove(&new), old);
}

#[test]
fn several_services_and_families_share_one_block() {
    let other = Entry { address: "10.0.0.50".parse().unwrap(), hostname: "registry".into() };
    let wanted = [entry("10.103.97.2"), entry("fd00::2"), other.clone(), other];
    let old = b"1.1.1.1 registry x\n";
    let new = apply(old, &wanted).unwrap();
    let block = "10.103.97.2 apiserver.cluster.local\nfd00::2 apiserver.cluster.local\n10.0.0.50 registry\n# END lbctl\n";
    assert!(text(&new).ends_with(block));
    assert_eq!(apply(&new, &wanted).unwrap(), new);
    assert_eq!(text(&remove(&applied(&new))), text(old));
}

#[test]
fn a_block_keeps_its_place() {
    let content = format!("1.1.1.1 a\n{BLOCK}2.2.2.2 b\n");
    assert_eq!(text(&applied(content.as_bytes())), content);
    let moved = text(&apply(content.as_bytes(), &[entry("10.0.0.1")]).unwrap());
    assert_eq!(moved, content.replace("10.103.97.2", "10.0.0.1"));
}

#[test]
fn a_damaged_block_never_costs_a_foreign_line() {
    let no_end = BLOCK.replace("# END lbctl\n", "");
    let [begin, own, end] = BLOCK.lines().collect::<Vec<_>>()[..] else { unreachable!() };
    for (damaged, expected) in [
        (format!("1.1.1.1 a\n{no_end}2.2.2.2 b\n"), "1.1.1.1 a\n2.2.2.2 b\n"),
        (format!("{no_end}10.0.0.9 {NAME}\n"), "10.0.0.9 apiserver.cluster.local\n"),
        (format!("{begin}\n"), ""),
        (begin.to_owned(), ""),
        ("# BEGIN lbctl\n1.1.1.1 a\n# END lbctl\n".to_owned(), "1.1.1.1 a\n"),
        (format!("1.1.1.1 a\n{end}\n2.2.2.2 b\n"), "1.1.1.1 a\n2.2.2.2 b\n"),
        (format!("1.1.1.1 a\n{BLOCK}2.2.2.2 b\n{BLOCK}3.3.3.3 c\n"), "1.1.1.1 a\n2.2.2.2 b\n3.3.3.3 c\n"),
        (format!("{no_end}2.2.2.2 b\n{BLOCK}"), "2.2.2.2 b\n"),
        (format!("{begin}\n3.3.3.3 mine\n{own}\n{end}\n"), "3.3.3.3 mine\n"),
        (format!("{begin}\n# note\n10.0.0.9 {NAME}\n{end}\n"), "# note\n"),
        (format!("{begin}\n10.0.0.9 {NAME} db\n{end}\n"), "10.0.0.9 apiserver.cluster.local db\n"),
    ] {
        assert_eq!(text(&remove(damaged.as_bytes())), expected, "{damaged}");
        let repaired = applied(damaged.as_bytes());
        assert_eq!(text(&remove(&repaired)), expected, "{damaged}");
        assert_eq!(text(&repaired).matches("# BEGIN lbctl").count(), 1);
        assert_eq!(addresses_of_name(&repaired), ["10.103.97.2"]);
    }
}

#[test]
fn another_tools_marker_is_not_ours() {
    let content = b"# BEGIN lbctl-like\n1.1.1.1 a\n# END lbctl-like\n";
    assert_eq!(remove(content), content);
}

#[test]
fn inspect_tells_what_is_wrong() {
    let status = |content: &str| inspect(content.as_bytes(), &vip()).unwrap();
    assert_eq!(status(BLOCK), Status::InPlace);
    assert_eq!(status("1.1.1.1 a\n"), Status::Missing);
    assert_eq!(status(&BLOCK.replace(".2 ", ".3 ")), Status::Differs);
    assert_eq!(status(&BLOCK.replace("# END lbctl\n", "")), Status::Differs);
    let by = vec![ForeignLine { number: 4, text: "1.1.1.1 b apiserver.cluster.local".into() }];
    assert_eq!(status(&format!("{BLOCK}1.1.1.1 b apiserver.cluster.local\r\n")), Status::Shadowed { by });
    assert_eq!(inspect(BLOCK.as_bytes(), &[]), Ok(Status::Differs));
    assert_eq!(inspect(b"1.1.1.1 a", &[]), Ok(Status::InPlace));
}

#[test]
fn a_name_that_would_break_out_of_its_line_is_refused() {
    for hostname in ["", "a b", "a\n1.1.1.1 b", "a#", "a,b", &"a".repeat(254)] {
        let wanted = [Entry { address: "10.0.0.1".parse().unwrap(), hostname: hostname.into() }];
        assert_eq!(
            apply(b"", &wanted),
            Err(HostsError::InvalidHostname { hostname: hostname.into() }),
            "{hostname:?}"
        );
    }
}

#[test]
fn a_file_above_the_bound_is_refused() {
    assert!(matches!(apply(&vec![b'#'; MAX_LEN], &vip()), Err(HostsError::TooLarge { .. })));
    assert!(apply(&vec![b'#'; MAX_LEN - 400], &vip()).is_ok());
}

#[test]
fn a_created_file_is_remembered_as_created() {
    let new = create(&vip()).unwrap();
    assert!(was_created(&new));
    assert!(was_created(&apply(&new, &[entry("10.0.0.1")]).unwrap()));
    assert!(!was_created(&applied(b"")));
    assert_eq!(remove(&new), b"");
}

fn after(content: &[u8], step: &Step, torn_at: usize) -> Vec<u8> {
    let mut content = content.to_vec();
    match step {
        Step::WriteAt { offset, bytes } => {
            let offset = usize::try_from(*offset).unwrap();
            assert!(offset <= content.len(), "a write leaves a hole");
            let bytes = &bytes[..torn_at];
            content.resize(content.len().max(offset + bytes.len()), 0);
            content[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        Step::SetLen(len) => content.truncate(usize::try_from(*len).unwrap()),
    }
    content
}

/// Cuts the rewrite of `old` into `new` short at every byte, and calls `check` with each state of the file.
fn at_every_crash(old: &[u8], new: &[u8], check: impl Fn(&[u8])) {
    let mut content = old.to_vec();
    for step in in_place::steps(old, new) {
        let len = match &step {
            Step::WriteAt { bytes, .. } => bytes.len(),
            Step::SetLen(_) => 0,
        };
        for torn_at in 0..=len {
            check(&after(&content, &step, torn_at));
        }
        content = after(&content, &step, len);
    }
    assert_eq!(text(&content), text(new));
}

fn check_crashes(old: &[u8], new: &[u8]) {
    let (before, done) = (pairs(old), pairs(new));
    at_every_crash(old, new, |content| {
        let now = pairs(content);
        let shared = before.iter().filter(|pair| done.contains(pair));
        for pair in shared {
            assert!(now.contains(pair), "{pair:?} is gone from {}", text(content));
        }
        for pair in &now {
            assert!(before.contains(pair) || done.contains(pair), "{pair:?} is wrong in {}", text(content));
        }
        let repaired = remove(content);
        let origin = remove(old);
        // A write cut within the first bytes of its padding or journal leaves them, and a newline.
        let rest = repaired.strip_prefix(origin.as_slice()).map(|rest| rest.trim_ascii_start());
        assert!(
            rest.is_some_and(|rest| rest.len() < marker::LEAST_REMNANT.len()
                && marker::LEAST_REMNANT.as_bytes().starts_with(rest)),
            "{} instead of {} from {}",
            text(&repaired),
            text(&origin),
            text(content)
        );
    });
}

#[test]
fn no_crash_of_a_rewrite_in_place_costs_or_makes_up_a_line() {
    for old in [
        "",
        "127.0.0.1 localhost",
        "127.0.0.1 localhost\n\n10.0.0.5 db\n",
        "10.0.0.1 db\n192.168.0.9 apiserver.cluster.local\n10.0.0.5 b\n10.0.0.6 c # x\n",
        "10.0.0.9 m1 apiserver.cluster.local\r\n10.0.0.6 c\r\n10.0.0.7 d",
    ] {
        let new = applied(old.as_bytes());
        check_crashes(old.as_bytes(), &new);
        check_crashes(&new, old.as_bytes());
        check_crashes(&new, &apply(&new, &[entry("fd00::2"), entry("10.0.0.1")]).unwrap());
    }
}

#[test]
fn a_crash_within_the_repair_of_a_crash_costs_nothing() {
    let old = b"10.0.0.9 m1 apiserver.cluster.local\n10.0.0.6 c";
    let foreign = foreign_pairs(old);
    // A prime: the states in between differ from these by little, and all pairs are too many.
    let count = std::cell::Cell::new(0);
    at_every_crash(old, &applied(old), |crashed| {
        count.set(count.get() + 1);
        if count.get() % 29 == 0 {
            at_every_crash(crashed, &applied(crashed), |twice| {
                let now = pairs(twice);
                assert!(foreign.iter().all(|pair| now.contains(pair)), "{}", text(twice));
            });
        }
    });
}

#[test]
fn a_line_appended_after_a_crash_is_kept() {
    let old = b"10.0.0.9 m1 apiserver.cluster.local\n10.0.0.6 c\n";
    at_every_crash(old, &applied(old), |crashed| {
        let appended = [crashed, b"\n10.0.0.7 d\n"].concat();
        assert!(pairs(&remove(&appended)).contains(&(b"10.0.0.7".to_vec(), b"d".to_vec())));
    });
}

/// A line such as hosts files have, or a piece of one.
fn some_line() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just(NAME), Just("APIServer.Cluster.local"), Just("db"), Just("m1"), Just("d")];
    let address = prop_oneof![Just("10.0.0.1"), Just("::1"), Just("10.103.97.2"), Just("fe80::1%eth0")];
    let mapping = (address, vec(name, 1..4), prop_oneof![Just(""), Just(" # x"), Just("\t"), Just("\r")])
        .prop_map(|(address, names, end)| format!("{address} {}{end}", names.join(" ")));
    prop_oneof![4 => mapping, 1 => "[ -~]{0,12}", 1 => Just(String::new())]
}

fn some_content() -> impl Strategy<Value = Vec<u8>> {
    let ending = prop_oneof![Just("\n"), Just("\n"), Just("\r\n")];
    let structured = (vec((some_line(), ending), 0..8), some_line()).prop_map(|(lines, last)| {
        lines.into_iter().map(|(line, ending)| line + ending).collect::<String>() + &last
    });
    prop_oneof![3 => structured.prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..200)]
}

/// The same with our own lines strewn in.
fn damaged_content() -> impl Strategy<Value = Vec<u8>> {
    let own: Vec<String> = BLOCK
        .lines()
        .map(str::to_owned)
        .chain(["# lbctl disabled: 1.1.1.1 d".into(), "# BEGIN lbctl".into()])
        .chain(text(&applied(b"10.0.0.1 db apiserver.cluster.local\n")).lines().map(str::to_owned))
        .collect();
    vec(prop_oneof![some_line(), proptest::sample::select(own)], 0..14)
        .prop_map(|lines| lines.join("\n").into_bytes())
}

fn some_wanted() -> impl Strategy<Value = Vec<Entry>> {
    let address = prop_oneof![Just("10.103.97.2"), Just("fd00::2"), Just("10.0.0.1")];
    vec((address, prop_oneof![Just(NAME), Just("db")]), 1..4).prop_map(|list| {
        let entry = |(address, name): (&str, &str)| Entry { hostname: name.into(), ..entry(address) };
        list.into_iter().map(entry).collect()
    })
}

fn lines_besides_ours(content: &[u8]) -> Vec<Vec<u8>> {
    let ours = |line: &&[u8]| {
        !Mapping::parse(line).is_some_and(|m| m.names.iter().any(|n| n.eq_ignore_ascii_case(NAME.as_bytes())))
    };
    line::lines(content).filter(ours).map(|line| line.trim_ascii_end().to_vec()).collect()
}

proptest! {
    #[test]
    fn remove_gives_back_what_was_before_apply(content in some_content(), wanted in some_wanted(), then in some_wanted()) {
        let new = apply(&content, &wanted).unwrap();
        prop_assert_eq!(text(&remove(&new)), text(&content));
        prop_assert_eq!(&remove(&new), &content);
        let changed = apply(&new, &then).unwrap();
        prop_assert_eq!(&remove(&changed), &content);
        prop_assert_eq!(&remove(&content), &content);
    }

    #[test]
    fn apply_is_idempotent(content in prop_oneof![some_content(), damaged_content()], wanted in some_wanted()) {
        let new = apply(&content, &wanted).unwrap();
        prop_assert_eq!(text(&apply(&new, &wanted).unwrap()), text(&new));
        prop_assert_eq!(inspect(&new, &wanted), Ok(Status::InPlace));
    }

    #[test]
    fn only_wanted_addresses_answer_for_a_wanted_name(content in prop_oneof![some_content(), damaged_content()]) {
        prop_assert_eq!(addresses_of_name(&applied(&content)), ["10.103.97.2"]);
    }

    #[test]
    fn foreign_mappings_survive_apply_and_remove(content in prop_oneof![some_content(), damaged_content()]) {
        for after in [applied(&content), remove(&content), remove(&applied(&content))] {
            let left = foreign_pairs(&after);
            for pair in foreign_pairs(&content) {
                prop_assert!(left.contains(&pair), "{:?} is gone from {}", pair, text(&after));
            }
        }
    }

    #[test]
    fn other_lines_keep_their_order(content in some_content()) {
        let new = lines_besides_ours(&applied(&content));
        let mut rest = new.iter();
        for line in lines_besides_ours(&content) {
            prop_assert!(rest.any(|other| *other == line), "{} is not in order", text(&line));
        }
    }

    #[test]
    fn markers_and_journals_of_any_kind_are_survived(content in damaged_content(), cut in any::<u8>(), wanted in some_wanted()) {
        let crashed = &content[..content.len().min(usize::from(cut))];
        let new = apply(crashed, &wanted).unwrap();
        prop_assert_eq!(apply(&new, &wanted).unwrap(), new);
    }
}

proptest! {
    // Every case looks at some thousand states of a file.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_crash_costs_or_makes_up_a_line(content in some_content(), wanted in some_wanted(), then in some_wanted()) {
        let new = apply(&content, &wanted).unwrap();
        check_crashes(&content, &new);
        check_crashes(&new, &apply(&new, &then).unwrap());
        check_crashes(&new, &content);
    }
}

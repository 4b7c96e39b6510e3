use super::*;

#[test]
fn an_unknown_field_is_named_at_its_key() {
    assert_changes(&[
        (
            "services",
            "state_dir: /x\nservices",
            "1:1: state_dir: unknown field (hint: did you mean stateDir?)",
        ),
        ("", "colour: red", "5:3: services[0].colour: unknown field (hint: known here: name, vip, hostname"),
        (
            "",
            "health: {Interval: 2s}",
            "5:12: services[0].health.Interval: unknown field (hint: did you mean",
        ),
        (
            "[192.168.0.2:6443]",
            "[{adress: 192.168.0.2:6443}]",
            "4:15: services[0].backends[0].adress: unknown field (hint: known here: address, weight)",
        ),
        ("", "discovery: {consul: x}", "5:15: services[0].discovery.consul: unknown field"),
        ("services", "hosts:\n  'a.b': 1\nservices", "2:3: hosts.\"a.b\": unknown field"),
    ]);
}

#[test]
fn a_wrong_type_is_named_at_its_value() {
    assert_rows(&[
        ("services: 1\n", "1:11: services: invalid type: integer `1`, expected a sequence"),
        ("services: [1]\n", "1:12: services[0]: invalid type: integer `1`, expected a mapping"),
        ("hosts: /etc/hosts\n", "1:8: hosts: invalid type: string \"/etc/hosts\", expected a mapping"),
        (
            "hosts: {manage: perhaps}\n",
            "1:17: hosts.manage: invalid type: string \"perhaps\", expected a boolean",
        ),
        ("- services\n", "1:1: invalid type: sequence, expected a mapping"),
        ("just text\n", "1:1: invalid type: string \"just text\", expected a mapping"),
    ]);
    assert_changes(&[
        (
            "10.103.97.2:6443",
            "[10.103.97.2, 6443]",
            "3:8: services[0].vip: invalid type: sequence, expected a string",
        ),
        (
            "",
            "health: {fall: three}",
            "5:18: services[0].health.fall: invalid type: string \"three\", expected a whole",
        ),
        (
            "",
            "health: {rise: 1.5}",
            "5:18: services[0].health.rise: invalid type: floating point `1.5`, expected a w",
        ),
        (
            "",
            "health: {expect: 200}",
            "5:20: services[0].health.expect: invalid type: integer `200`, expected a seq",
        ),
        (
            "[192.168.0.2:6443]",
            "\n  - 192.168.0.2:6443\n  - 6443",
            "6:5: services[0].backends[1]: invalid type: integer `6443`, expected an address such as",
        ),
        (
            "[192.168.0.2:6443]",
            "[{address: 192.168.0.2:6443, weight: heavy}]",
            "4:50: services[0].backends[0].weight: invalid type: string \"heavy\", expected a whole number",
        ),
    ]);
}

#[test]
fn what_must_be_there_is_missed() {
    let no_service = "1:1: services: no service (hint: list one under services, or give --vip";
    assert_rows(&[
        ("", no_service),
        ("# only a comment\n", no_service),
        ("---\n", "2:1: services: no service"),
        ("scope: host\n", no_service),
        ("services: []\n", "1:11: services: no service"),
        ("services:\n", "1:1: services: no service"),
    ]);
    assert_changes(&[
        (
            "- name: apiserver\n  vip",
            "- vip",
            "2:3: services[0].name: missing (hint: write for example apiserver)",
        ),
        ("  vip: 10.103.97.2:6443\n", "", "2:3: services[0].vip: missing"),
        ("[192.168.0.2:6443]", "[]", "4:13: services[0].backends: no backend (hint: list at least one"),
        ("[192.168.0.2:6443]", "", "4:3: services[0].backends: no backend"),
        ("  backends: [192.168.0.2:6443]\n", "", "2:3: services[0].backends: no backend"),
        ("[192.168.0.2:6443]", "[{weight: 1}]", "4:14: services[0].backends[0].address: missing"),
    ]);
}

#[test]
fn more_than_there_is_room_for_is_refused() {
    let backends: Vec<_> = (1..=65).map(|i| format!("10.1.0.{i}:1")).collect();
    assert_changes(&[(
        "192.168.0.2:6443",
        &backends.join(", "),
        "4:13: services[0].backends: 65 backends, at most 64 are possible",
    )]);
    let service = |i| format!("- {{name: s{i}, vip: '10.0.0.1:{i}', backends: [10.0.0.2:1]}}\n");
    let text = format!("services:\n{}", (1..=65).map(service).collect::<String>());
    assert_eq!(complaints(&text), "lb.yaml:2:3: services: 65 services, at most 64 are possible");
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = "stateDir: x
services:
- name: A
  deadAfter: 1d
  vip: 10.0.0.1
  backends: [{address: a:1, weight: -1}, '[fd00::2]:1']
  health: {interval: 0s, fall: 0, path: x}
- vip: '[fd00::2]:1'
  backends: []
";
    let errors = load_text(text).unwrap_err();
    let paths: Vec<_> = errors.errors.iter().map(|e| e.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "stateDir",
            "services[0].name",
            "services[0].deadAfter",
            "services[0].vip",
            "services[0].backends[0].address",
            "services[0].backends[0].weight",
            "services[0].backends[1]",
            "services[0].health.interval",
            "services[0].health.fall",
            "services[0].health.path",
            "services[1].name",
            "services[1].backends",
        ]
    );
}

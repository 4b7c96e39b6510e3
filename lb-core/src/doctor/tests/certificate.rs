use super::*;
use Severity::{Fail, Ok as Good, Warn};

#[test]
fn a_backend_that_does_not_answer() {
    fn down(facts: &mut Facts, count: usize) {
        for backend in facts.backends.iter_mut().take(count) {
            backend.answer = Err("connect: refused".to_owned());
        }
    }
    check(
        Code::Backend,
        &[
            (|_| (), Good, "192.168.0.2:6443 answers"),
            (|f| down(f, 1), Warn, "192.168.0.2:6443 does not answer: connect: refused"),
            (|f| down(f, 2), Fail, "nor does any other backend"),
        ],
    );
}

#[test]
fn names_in_a_certificate() {
    let other_backend: Change = |facts| {
        facts.certificates[0].origin = Origin::Backend("10.9.9.9:1".parse().unwrap());
        facts.certificates[0].names.clear();
    };
    let file: Change = |facts| {
        facts.certificates[0].origin = Origin::File("/etc/kubernetes/pki/apiserver.crt".into());
        facts.certificates[0].names.clear();
    };
    check(
        Code::CertNames,
        &[
            (|_| (), Good, "the certificate of 192.168.0.2:6443 has apiserver.cluster.local and 10.103.97.2"),
            (
                |f| f.certificates[0].addresses.clear(),
                Warn,
                "does not have the address 10.103.97.2: only clients",
            ),
            (|f| f.certificates[0].names.clear(), Fail, "does not have the name apiserver.cluster.local"),
            (
                |f| {
                    f.certificates[0].names.clear();
                    f.certificates[0].addresses.clear();
                },
                Fail,
                "has neither",
            ),
            (
                |f| {
                    set_config(f, |overrides| overrides.hostname = None);
                    f.certificates[0].addresses.clear();
                },
                Fail,
                "there is no hostname",
            ),
            (
                |f| {
                    set_config(f, |overrides| overrides.hostname = None);
                    f.certificates[0].names.clear();
                },
                Good,
                "has 10.103.97.2",
            ),
            (|f| f.certificates[0].names = vec!["*.cluster.local".to_owned()], Good, "has apiserver"),
            (|f| f.certificates[0].names = vec!["*.local".to_owned()], Fail, "does not have the name"),
            (|f| f.certificates[0].names = vec!["ApiServer.Cluster.Local".to_owned()], Good, "has apiserver"),
            (file, Fail, "/etc/kubernetes/pki/apiserver.crt does not have the name"),
        ],
    );
    assert!(found(Code::CertNames, other_backend).0.is_empty(), "no service of ours has that backend");
}

#[test]
fn when_a_certificate_ends() {
    fn at(facts: &mut Facts, now: &str) {
        facts.now = now.parse().unwrap();
    }
    check(
        Code::CertExpiry,
        &[
            (|_| (), Good, "valid until 2027-01-01T00:00:00Z, 214 days from now"),
            (|f| at(f, "2026-12-02T00:00:00Z"), Good, "30 days"),
            (|f| at(f, "2026-12-02T00:00:01Z"), Warn, "29 days"),
            (|f| at(f, "2026-12-31T23:59:59Z"), Warn, "0 days"),
            (|f| at(f, "2027-01-01T00:00:00Z"), Fail, "has been invalid since"),
            (|f| at(f, "2025-12-31T23:59:59Z"), Fail, "is not valid before"),
        ],
    );
}

#[test]
fn clocks_that_differ() {
    fn ours(facts: &mut Facts, ours: &str) {
        let theirs = "2026-06-01T00:00:00Z".parse().unwrap();
        facts.backends[0].answer = Ok(AnswerFact { clocks: Some((ours.parse().unwrap(), theirs)) });
    }
    check(
        Code::ClockSkew,
        &[
            (|f| ours(f, "2026-06-01T00:00:04.9Z"), Good, "to a few seconds"),
            (|f| ours(f, "2026-06-01T00:00:05Z"), Warn, "5 s ahead of that of 192.168.0.2:6443"),
            (|f| ours(f, "2026-05-31T23:55:00Z"), Warn, "300 s behind that of"),
            (|f| ours(f, "2026-05-31T23:54:59Z"), Fail, "301 s behind"),
        ],
    );
}

#[test]
fn a_backend_that_only_the_agent_knows_of_is_looked_at_too() {
    let (severities, text) = found(Code::CertNames, |facts| {
        let discovered = "10.9.9.9:6443".parse().unwrap();
        facts.members = [("apiserver".to_owned(), [discovered].into())].into();
        facts.certificates[0].origin = Origin::Backend(discovered);
        facts.certificates[0].names.clear();
    });
    assert_eq!(severities, [Fail], "{text}");
    assert!(text.contains("10.9.9.9:6443"), "{text}");
}

use super::*;

/// A kernel whose settings are files, and a state directory.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new(values: &[(Sysctl, u32)]) -> Self {
        let fixture = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(fixture.settings("boot").dir).unwrap();
        for (sysctl, value) in values {
            fixture.somebody_sets(*sysctl, *value);
        }
        fixture
    }

    fn settings(&self, boot_id: &str) -> Settings {
        Settings { dir: self.dir.path().join("vs"), boot_id: Ok(boot_id.to_owned()) }
    }

    /// Not there yet.
    fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state/lbctl")
    }

    fn somebody_sets(&self, sysctl: Sysctl, value: u32) {
        fs::write(self.settings("boot").dir.join(sysctl.file()), format!("{value}\n")).unwrap();
    }

    fn set(&self, sysctl: Sysctl, value: u32) {
        self.settings("boot").set(&self.state_dir(), sysctl, value).unwrap();
    }

    fn value(&self, sysctl: Sysctl) -> Option<u32> {
        self.settings("boot").observe().unwrap().get(&sysctl).copied()
    }

    fn restore(&self) -> Vec<String> {
        self.settings("boot").restore(&self.state_dir()).unwrap()
    }

    fn is_remembered(&self) -> bool {
        self.state_dir().join(NAME).exists()
    }
}

use Sysctl::{ConnReuseMode, Conntrack, ExpireNodestConn};

#[test]
fn the_scope_and_the_kernel_decide_what_is_wanted() {
    let host = BTreeMap::from([(ExpireNodestConn, 1), (ConnReuseMode, 1)]);
    assert_eq!(wanted_on(Scope::Host, (5, 9)), host);
    let node = BTreeMap::from([(Conntrack, 1), (ExpireNodestConn, 1), (ConnReuseMode, 0)]);
    assert_eq!(wanted_on(Scope::Node, (5, 8)), node);
    assert_eq!(wanted(Scope::Host), host, "on the kernels that the tests run on");
}

#[test]
fn a_release_begins_with_its_version() {
    for (release, expected) in [
        ("6.1.0-18-amd64\n", Some((6, 1))),
        ("5.10", Some((5, 10))),
        ("4.18.0-553.el8", Some((4, 18))),
        ("6-rc1", None),
        ("", None),
    ] {
        assert_eq!(version(release), expected, "{release}");
    }
}

#[test]
fn a_setting_is_named_as_sysctl_names_it() {
    assert_eq!(ExpireNodestConn.to_string(), "net.ipv4.vs.expire_nodest_conn");
}

#[test]
fn what_was_there_before_comes_back_and_nothing_is_left() {
    let fixture = Fixture::new(&[(Conntrack, 0), (ExpireNodestConn, 0), (ConnReuseMode, 1)]);
    fixture.set(Conntrack, 1);
    fixture.set(ExpireNodestConn, 1);
    fixture.set(ConnReuseMode, 1);
    assert_eq!(fixture.value(Conntrack), Some(1));
    assert_eq!(
        fixture.restore(),
        ["net.ipv4.vs.conntrack: 1 -> 0", "net.ipv4.vs.expire_nodest_conn: 1 -> 0"]
    );
    assert_eq!((fixture.value(Conntrack), fixture.value(ConnReuseMode)), (Some(0), Some(1)));
    assert!(!fixture.is_remembered());
    assert!(fixture.restore().is_empty(), "twice is as good as once");
}

#[test]
fn the_first_original_is_remembered_whatever_happens_later() {
    let fixture = Fixture::new(&[(ConnReuseMode, 2)]);
    fixture.set(ConnReuseMode, 1);
    fixture.somebody_sets(ConnReuseMode, 0);
    fixture.set(ConnReuseMode, 1);
    assert_eq!(fixture.restore(), ["net.ipv4.vs.conn_reuse_mode: 1 -> 2"]);
    assert_eq!(fixture.value(ConnReuseMode), Some(2));
}

#[test]
fn what_somebody_else_set_since_stays() {
    let fixture = Fixture::new(&[(ConnReuseMode, 1)]);
    fixture.set(ConnReuseMode, 0);
    fixture.somebody_sets(ConnReuseMode, 3);
    assert!(fixture.restore().is_empty());
    assert_eq!(fixture.value(ConnReuseMode), Some(3));
    assert!(!fixture.is_remembered());
}

#[test]
fn what_is_as_it_should_be_is_neither_written_nor_remembered() {
    let fixture = Fixture::new(&[(Conntrack, 1)]);
    fixture.set(Conntrack, 1);
    assert!(!fixture.is_remembered());
    assert!(fixture.restore().is_empty());
}

#[test]
fn another_boots_originals_are_not_put_back() {
    let fixture = Fixture::new(&[(Conntrack, 1)]);
    fixture.settings("earlier").set(&fixture.state_dir(), Conntrack, 0).unwrap();
    fixture.set(Conntrack, 1);
    fixture.somebody_sets(Conntrack, 0);
    assert!(fixture.restore().is_empty());
    assert_eq!(fixture.value(Conntrack), Some(0));
}

#[test]
fn a_file_that_cannot_be_understood_is_no_obstacle() {
    let fixture = Fixture::new(&[(Conntrack, 0)]);
    fs::create_dir_all(fixture.state_dir()).unwrap();
    fs::write(fixture.state_dir().join(NAME), b"{\"bootId\": 7").unwrap();
    fixture.set(Conntrack, 1);
    assert_eq!(fixture.restore(), ["net.ipv4.vs.conntrack: 1 -> 0"]);
}

#[test]
fn without_ipvs_there_is_nothing_to_see_and_setting_says_so() {
    let fixture = Fixture::new(&[]);
    assert_eq!(fixture.settings("boot").observe().unwrap(), BTreeMap::new());
    let error = fixture.settings("boot").set(&fixture.state_dir(), Conntrack, 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().contains("net.ipv4.vs.conntrack"), "{error}");
    assert!(fixture.restore().is_empty());
}

#[test]
fn a_value_that_cannot_be_remembered_is_not_changed() {
    let fixture = Fixture::new(&[(Conntrack, 0)]);
    fs::write(fixture.dir.path().join("state"), b"in the way").unwrap();
    fixture.settings("boot").set(&fixture.state_dir(), Conntrack, 1).unwrap_err();
    assert_eq!(fixture.value(Conntrack), Some(0));
}

//! The rules that the compiler does not know: where `unsafe` and libc may live, what lb-core may depend on, and
//! how long a file may be.

use super::source;

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// How bad it is.
    pub(crate) severity: Severity,
    /// Where and what, starting with `file` or `file:line`.
    pub(crate) text: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Worth a look.
    Warning,
    /// Must be mended.
    Error,
}

/// A file longer than this is asked to be split.
const LINES_WANTED: usize = 300;
/// A file longer than this must be.
const LINES_ALLOWED: usize = 500;

/// lb-core decides and does nothing else: it stays testable without a kernel, a clock or a network.
const FORBIDDEN_IN_CORE: [&str; 4] = ["aya", "hyper", "libc", "tokio"];

/// Checks one Rust file; `path` is relative to the workspace's root.
pub(crate) fn check_source(path: &str, text: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = check_length(path, text.lines().count()).into_iter().collect();
    if !may_be_unsafe(path) {
        let code = source::without_comments_and_literals(text);
        for (index, line) in code.lines().enumerate() {
            let breach = if has_word(line, "unsafe") {
                "`unsafe`"
            } else if uses_libc(line) {
                "libc"
            } else {
                continue;
            };
            findings.push(error(format!(
                "{path}:{}: {breach} belongs into lb-ebpf, lb-common, lb-user/src/os or a dataplane's kernel.rs",
                index + 1
            )));
        }
    }
    findings
}

fn check_length(path: &str, lines: usize) -> Option<Finding> {
    if lines > LINES_ALLOWED {
        return Some(error(format!("{path}: {lines} lines, {LINES_ALLOWED} are allowed: split it")));
    }
    (lines > LINES_WANTED).then(|| Finding {
        severity: Severity::Warning,
        text: format!("{path}: {lines} lines, {LINES_WANTED} are wanted"),
    })
}

/// Checks what lb-core's manifest makes it depend on; its tests may use what they like.
pub(crate) fn check_core_manifest(path: &str, manifest: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_dependencies = false;
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        let names = if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_matches(['[', ']']);
            let (section, table) = match header.rsplit_once('.') {
                // [dependencies.tokio], [target.'cfg(unix)'.dependencies.tokio]
                Some((section, name)) if is_dependency_section(section) => (section, Some(name)),
                Some(_) | None => (header, None),
            };
            in_dependencies = is_dependency_section(section);
            table.into_iter().collect()
        } else if in_dependencies {
            dependency_names(line)
        } else {
            Vec::new()
        };
        for name in names.into_iter().filter(|name| is_forbidden_in_core(name)) {
            findings.push(error(format!(
                "{path}:{}: lb-core must not depend on {name}: it does no I/O and knows no clock",
                index + 1
            )));
        }
    }
    findings
}

fn is_dependency_section(section: &str) -> bool {
    section == "dependencies"
        || section == "build-dependencies"
        || (section.starts_with("target.") && section.ends_with(".dependencies"))
}

/// `tokio = "1"`, `tokio.workspace = true`, `renamed = { package = "tokio" }`: the crates meant.
fn dependency_names(line: &str) -> Vec<&str> {
    let Some((key, value)) = line.split_once('=') else { return Vec::new() };
    let key = key.trim().trim_matches('"');
    let key = key.split('.').next().unwrap_or(key);
    let renamed = value.split_once("package").or_else(|| line.split_once("package")).and_then(|(_, rest)| {
        let mut quoted = rest.split('"');
        quoted.next().filter(|between| between.trim() == "=")?;
        quoted.next()
    });
    [key].into_iter().chain(renamed).filter(|name| !name.is_empty()).collect()
}

fn is_forbidden_in_core(name: &str) -> bool {
    FORBIDDEN_IN_CORE.iter().any(|forbidden| {
        name.strip_prefix(forbidden).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

/// Where the compiler's guarantees may be set aside, with a reason: at the boundary to the kernel, and in tests.
fn may_be_unsafe(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(
        parts[..],
        ["lb-ebpf" | "lb-common" | "tests", ..]
            | ["lb-user", "src", "os.rs"]
            | ["lb-user", "src", "os", ..]
            | ["lb-user", "src", "dataplane", _, "kernel.rs"]
            | ["lb-user", "tests", _, "kernel.rs"]
            | ["lb-user", "src", "dataplane", _, "kernel", _]
    )
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

/// `libc::`, also spelled `use libc;`; not `mylibc::`.
fn uses_libc(line: &str) -> bool {
    has_word(line, "libc") && (line.contains("libc::") || has_word(line, "use") || has_word(line, "extern"))
}

fn error(text: String) -> Finding {
    Finding { severity: Severity::Error, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|finding| finding.text.as_str()).collect()
    }

    #[test]
    fn the_compilers_guarantees_are_set_aside_only_at_the_boundary() {
        let text = "fn f() {\n    unsafe { g() }\n}\n";
        for (path, breaches) in [
            ("lb-user/src/agent.rs", 1),
            ("lb-user/src/cli/os.rs", 1),
            ("lb-user/src/dataplane/socket/native.rs", 1),
            ("lb-user/src/dataplane/kernel.rs", 1),
            ("lb-user/build.rs", 1),
            ("lb-core/src/lib.rs", 1),
            ("xtask/src/main.rs", 1),
            ("lb-user/src/os.rs", 0),
            ("lb-user/src/os/netns.rs", 0),
            ("lb-user/src/dataplane/socket/kernel.rs", 0),
            ("lb-user/tests/packet_programs/kernel.rs", 0),
            ("lb-user/src/dataplane/socket/kernel/links.rs", 0),
            ("lb-ebpf/src/socket/main.rs", 0),
            ("lb-common/src/lib.rs", 0),
            ("tests/tests/run.rs", 0),
        ] {
            let findings = check_source(path, text);
            assert_eq!(findings.len(), breaches, "{path}: {findings:?}");
            assert!(
                findings.iter().all(|finding| finding.text.starts_with(&format!("{path}:2: "))),
                "{findings:?}"
            );
        }
    }

    #[test]
    fn only_code_counts() {
        for (line, breaches) in [
            ("let x = libc::getpid();", 1),
            ("use libc;", 1),
            ("use libc::{c_int, pid_t};", 1),
            ("unsafe impl Send for X {}", 1),
            ("#[unsafe(no_mangle)]", 1),
            ("// unsafe is not wanted, nor is libc::getpid", 0),
            ("let text = \"unsafe libc::x\";", 0),
            ("#![deny(unsafe_code)]", 0),
            ("let mylibc = mylibc::x();", 0),
        ] {
            assert_eq!(check_source("lb-user/src/agent.rs", line).len(), breaches, "{line}");
        }
    }

    #[test]
    fn a_long_file_is_a_warning_and_a_very_long_one_an_error() {
        for (lines, severity) in [
            (300, None),
            (301, Some(Severity::Warning)),
            (500, Some(Severity::Warning)),
            (501, Some(Severity::Error)),
        ] {
            let findings = check_source("lb-core/src/lib.rs", &"\n".repeat(lines));
            assert_eq!(findings.first().map(|finding| finding.severity), severity, "{lines} lines");
        }
    }

    #[test]
    fn lb_core_may_not_depend_on_what_does_io_however_it_is_written() {
        for (line, breaches) in [
            ("serde.workspace = true", 0),
            ("tokio.workspace = true", 1),
            ("tokio = \"1\"", 1),
            ("aya-obj = { version = \"0.3\" }", 1),
            ("rt = { package = \"tokio\", version = \"1\" }", 1),
            ("rt.package = \"tokio\"", 1),
            ("ayatollah = \"1\"", 0),
            ("# tokio = \"1\"", 0),
            ("[dependencies.hyper]", 1),
            ("[target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"", 1),
            ("[build-dependencies]\nlibc = \"0.2\"", 1),
            ("[dev-dependencies]\ntokio = \"1\"", 0),
            ("[features]\ntokio = []", 0),
        ] {
            let findings = check_core_manifest("m", &format!("[dependencies]\n{line}\n"));
            assert_eq!(findings.len(), breaches, "{line}: {:?}", texts(&findings));
        }
    }
}

use std::fmt;

use serde::Serialize;

use super::Code;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It may work, but somebody should look at it; or nobody can tell.
    Warn,
    /// It does not work, or will not for long.
    Fail,
}

impl Severity {
    /// The severity as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub message: String,
    /// What to do about it; `None` where all is well.
    pub remedy: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(code: Code, message: impl Into<String>) -> Self {
        Self { code, severity: Severity::Ok, message: message.into(), remedy: None }
    }

    /// Worth a look.
    pub fn warn(code: Code, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::bad(Severity::Warn, code, message, remedy)
    }

    /// It does not work.
    pub fn fail(code: Code, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::bad(Severity::Fail, code, message, remedy)
    }

    /// With a severity that depends on something.
    pub fn bad(
        severity: Severity,
        code: Code,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { code, severity, message: message.into(), remedy: Some(remedy.into()) }
    }
}

/// `lbctl doctor -o json`. Keys are stable; more may be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every finding, by code.
    pub findings: Vec<Finding>,
    /// How many there are of each severity.
    pub summary: Summary,
}

/// How many findings there are of each severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// As it should be.
    pub ok: usize,
    /// Worth a look.
    pub warn: usize,
    /// Not working.
    pub fail: usize,
}

/// What a report comes to; the exit code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing fails.
    Fine,
    /// Something fails that is none of the others.
    Failing,
    /// The config is wrong.
    BadConfig,
    /// The kernel or the host lacks what is needed.
    Lacking,
    /// This process may not do what is needed, so that little can be told.
    NotAllowed,
}

impl Report {
    /// Counts the findings.
    pub fn new(findings: Vec<Finding>) -> Self {
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let summary =
            Summary { ok: count(Severity::Ok), warn: count(Severity::Warn), fail: count(Severity::Fail) };
        Self { findings, summary }
    }

    /// What it comes to. Of several verdicts the one that explains the others.
    pub fn verdict(&self) -> Verdict {
        let failing = || self.findings.iter().filter(|finding| finding.severity == Severity::Fail);
        let fails = |codes: &[Code]| failing().any(|finding| codes.contains(&finding.code));
        if fails(&[Code::Capabilities]) {
            Verdict::NotAllowed
        } else if fails(&[Code::Dataplane, Code::SocketKernel, Code::IpvsKernel, Code::PacketKernel]) {
            Verdict::Lacking
        } else if fails(&[Code::Config]) {
            Verdict::BadConfig
        } else if failing().next().is_some() {
            Verdict::Failing
        } else {
            Verdict::Fine
        }
    }
}

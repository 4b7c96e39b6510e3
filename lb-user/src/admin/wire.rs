//! The JSON that only the API has: bodies of requests and errors.

use std::fmt;

use hyper::StatusCode;
use lb_core::{config::DurationError, model::Admin, operator::OperatorError};
use serde::{Deserialize, Serialize};

use super::route::RouteError;

/// An error as the API tells it: `{"error": {"code", "message", "hint"}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// For scripts: one word in camelCase, stable.
    pub code: String,
    /// For people: what and why.
    pub message: String,
    /// The remedy, where there is one.
    pub hint: Option<String>,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; hint: {hint}"))
    }
}

/// The body of every answer that is an error.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ErrorBody {
    pub(super) error: ApiError,
}

/// The body of PATCH: at least one of them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) admin: Option<Admin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) weight: Option<u16>,
    /// With `admin: draining`: how long established connections may go on, as the config file writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<String>,
}

/// The body of PUT. May be left out.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Addition {
    #[serde(default = "one")]
    pub(super) weight: u16,
}

fn one() -> u16 {
    1
}

/// Why a request was not answered as asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error("the body is not the JSON that is wanted: {0}")]
    BadJson(String),
    #[error("the body names neither admin nor weight")]
    NothingToChange,
    #[error("timeout: {0}")]
    BadTimeout(DurationError),
    #[error("timeout goes with admin: draining only")]
    TimeoutWithoutDrain,
    #[error("the body is longer than {most} bytes")]
    BodyTooLong { most: usize },
    #[error("the body did not come within {seconds} s")]
    BodyTooSlow { seconds: u64 },
    #[error("the body broke off")]
    BodyBroken,
    #[error("there are {most} event streams already")]
    TooManyStreams { most: usize },
    #[error("the agent did not answer within {seconds} s; the request may still be carried out")]
    AgentBusy { seconds: u64 },
    #[error("the agent is stopping")]
    AgentGone,
    #[error("{0}")]
    Kernel(String),
    #[error("the kernel did not tell its connections within {seconds} s")]
    KernelBusy { seconds: u64 },
    #[error("the view cannot be written as JSON: {0}")]
    Unwritable(String),
}

impl Refusal {
    /// The HTTP status that goes with it.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Route(RouteError::NoSuchPath { .. }) => StatusCode::NOT_FOUND,
            Self::Route(RouteError::WrongMethod { .. }) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Route(RouteError::BadSegment { .. } | RouteError::BadQuery { .. }) => {
                StatusCode::BAD_REQUEST
            }
            Self::Operator(error) => operator_status(error),
            Self::BadJson(_)
            | Self::NothingToChange
            | Self::BadTimeout(_)
            | Self::TimeoutWithoutDrain
            | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::BodyTooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::TooManyStreams { .. }
            | Self::AgentBusy { .. }
            | Self::AgentGone
            | Self::KernelBusy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Kernel(_) | Self::Unwritable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Route(RouteError::NoSuchPath { .. }) => "noSuchPath",
            Self::Route(RouteError::WrongMethod { .. }) => "wrongMethod",
            Self::Route(RouteError::BadSegment { .. }) => "badPath",
            Self::Route(RouteError::BadQuery { .. }) => "badQuery",
            Self::Operator(error) => error.code(),
            Self::BadJson(_)
            | Self::NothingToChange
            | Self::BadTimeout(_)
            | Self::TimeoutWithoutDrain
            | Self::BodyBroken => "badBody",
            Self::BodyTooLong { .. } => "bodyTooLong",
            Self::BodyTooSlow { .. } => "bodyTooSlow",
            Self::TooManyStreams { .. } => "tooManyStreams",
            Self::AgentBusy { .. } => "agentBusy",
            Self::AgentGone => "agentGone",
            Self::Kernel(_) => "kernel",
            Self::KernelBusy { .. } => "kernelBusy",
            Self::Unwritable(_) => "internal",
        }
    }

    /// The methods for the header Allow (RFC 9110, section 15.5.6).
    pub(super) fn allow(&self) -> Option<&'static str> {
        if let Self::Route(RouteError::WrongMethod { allow, .. }) = self { Some(allow) } else { None }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Operator(error) => error.hint(),
            Self::Route(_) => self.allow().map(|allow| format!("use {allow}")),
            Self::NothingToChange => Some(r#"send {"admin":"draining"} or {"weight":2}"#.to_owned()),
            Self::BadTimeout(error) => Some(error.hint()),
            Self::TimeoutWithoutDrain => Some(r#"send {"admin":"draining","timeout":"60s"}"#.to_owned()),
            Self::TooManyStreams { .. } => Some("close one of them".to_owned()),
            Self::BadJson(_)
            | Self::BodyTooLong { .. }
            | Self::BodyTooSlow { .. }
            | Self::BodyBroken
            | Self::AgentBusy { .. }
            | Self::AgentGone
            | Self::Kernel(_)
            | Self::KernelBusy { .. }
            | Self::Unwritable(_) => None,
        }
    }

    pub(super) fn body(&self) -> ErrorBody {
        let (code, message) = (self.code().to_owned(), self.to_string());
        ErrorBody { error: ApiError { code, message, hint: self.hint() } }
    }
}

fn operator_status(error: &OperatorError) -> StatusCode {
    match error {
        OperatorError::UnknownService { .. } | OperatorError::UnknownBackend { .. } => StatusCode::NOT_FOUND,
        OperatorError::AmbiguousService { .. } => StatusCode::BAD_REQUEST,
        OperatorError::AlreadyThere { .. }
        | OperatorError::FromConfig { .. }
        | OperatorError::TooMany { .. } => StatusCode::CONFLICT,
        OperatorError::FamilyMismatch { .. }
        | OperatorError::BackendIsVip { .. }
        | OperatorError::ZeroPort { .. } => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

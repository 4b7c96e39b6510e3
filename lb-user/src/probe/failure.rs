//! From errors to [`Failure`]s.

use std::{
    error::Error,
    fmt::Display,
    io::{self, ErrorKind},
};

use lb_core::probe::{Failure, Phase};
use rustix::io::Errno;
use rustls::CertificateError;

/// The longest text of a failure that is kept, in characters: part of it is written by the backend.
const TEXT_MAX: usize = 160;

/// What kept a probe from an answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The backend, or the way to it.
    Backend(Failure),
    /// This host.
    Local(String),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Backend(failure)
    }
}

/// Of a socket that could not be made or connected.
pub(super) fn of_connect(error: &io::Error) -> Trouble {
    match Errno::from_io_error(error) {
        Some(
            Errno::MFILE
            | Errno::NFILE
            | Errno::NOMEM
            | Errno::NOBUFS
            | Errno::ADDRNOTAVAIL
            | Errno::PERM
            | Errno::ACCESS,
        ) => Trouble::Local(format!("{}: {error}", Phase::Connect)),
        Some(_) | None => Trouble::Backend(of_io(error, Phase::Connect)),
    }
}

/// Of a timer that could not be made.
pub(super) fn of_alarm(error: &io::Error) -> Trouble {
    Trouble::Local(format!("failed to make a timer: {error}"))
}

/// Of a socket, or of TLS on it.
pub(super) fn of_io(error: &io::Error, phase: Phase) -> Failure {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return of_tls(tls);
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Failure::Reset(phase),
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::NotConnected => Failure::Closed(phase),
        ErrorKind::TimedOut => Failure::Timeout(phase),
        ErrorKind::HostUnreachable => Failure::Unreachable("no route to host".to_owned()),
        ErrorKind::NetworkUnreachable => Failure::Unreachable("network is unreachable".to_owned()),
        // rustls' errors, once h2 has made text of them.
        ErrorKind::InvalidData => Failure::Tls(short(error)),
        // The rest comes out of ICMP messages (Linux: icmp_err_convert in net/ipv4/icmp.c).
        _ => Failure::Unreachable(short(error)),
    }
}

fn of_tls(error: &rustls::Error) -> Failure {
    let rustls::Error::InvalidCertificate(why) = error else {
        return Failure::Tls(short(error));
    };
    Failure::Certificate(match why {
        CertificateError::UnknownIssuer => "unknown issuer".to_owned(),
        CertificateError::NotValidForName => "not valid for this name".to_owned(),
        CertificateError::NotValidForNameContext { expected, .. } => {
            format!("not valid for name {}", expected.to_str())
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "not valid yet".to_owned()
        }
        // An authority of the same name and with another key: kubeadm names that of every cluster `kubernetes`.
        CertificateError::BadSignature => "unknown issuer (bad signature)".to_owned(),
        CertificateError::BadEncoding => "not a certificate".to_owned(),
        // webpki's words, without those around them.
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            "an authority's own, not a server's".to_owned()
        }
        CertificateError::Other(other) => short(other),
        other => short(other),
    })
}

/// Of HTTP/1.1.
pub(super) fn of_http1(error: &hyper::Error, phase: Phase) -> Failure {
    if let Some(io) = error.source().and_then(|source| source.downcast_ref()) {
        of_io(io, phase)
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        Failure::Closed(phase)
    } else {
        Failure::Protocol(short(error))
    }
}

/// Of HTTP/2.
pub(super) fn of_http2(error: &h2::Error, phase: Phase) -> Failure {
    if let Some(io) = error.get_io() {
        of_io(io, phase)
    } else if error.is_go_away() && error.is_remote() {
        Failure::Closed(phase)
    } else if error.is_reset() && error.is_remote() {
        Failure::Reset(phase)
    } else {
        Failure::Protocol(short(error))
    }
}

fn short(error: &dyn Display) -> String {
    error.to_string().chars().take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(errno: Errno) -> io::Error {
        errno.into()
    }

    #[test]
    fn what_this_host_lacks_says_nothing_about_the_backend() {
        for errno in
            [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ADDRNOTAVAIL, Errno::PERM, Errno::ACCESS]
        {
            assert!(matches!(of_connect(&os(errno)), Trouble::Local(_)), "{errno}");
        }
    }

    #[test]
    fn errors_of_a_connect_have_a_failure_each() {
        for (errno, failure) in [
            (Errno::CONNREFUSED, Failure::Refused),
            (Errno::TIMEDOUT, Failure::Timeout(Phase::Connect)),
            (Errno::HOSTUNREACH, Failure::Unreachable("no route to host".to_owned())),
            (Errno::NETUNREACH, Failure::Unreachable("network is unreachable".to_owned())),
            (Errno::CONNRESET, Failure::Reset(Phase::Connect)),
        ] {
            assert!(matches!(of_connect(&os(errno)), Trouble::Backend(f) if f == failure), "{errno}");
        }
    }

    #[test]
    fn certificate_errors_are_told_in_a_few_words() {
        let expected = rustls::pki_types::ServerName::from(std::net::IpAddr::from([10, 0, 0, 1]));
        for (error, text) in [
            (CertificateError::UnknownIssuer, "unknown issuer"),
            (
                CertificateError::NotValidForNameContext { expected, presented: vec!["x".repeat(1000)] },
                "not valid for name 10.0.0.1",
            ),
            (CertificateError::Expired, "expired"),
            (
                CertificateError::Other(rustls::OtherError(std::sync::Arc::new(io::Error::other("odd")))),
                "odd",
            ),
        ] {
            let error = io::Error::new(ErrorKind::InvalidData, rustls::Error::InvalidCertificate(error));
            assert_eq!(of_io(&error, Phase::Handshake), Failure::Certificate(text.to_owned()));
        }
    }

    #[test]
    fn a_backend_cannot_make_a_text_long() {
        let error = io::Error::new(ErrorKind::InvalidData, "ä".repeat(1000));
        assert_eq!(of_io(&error, Phase::Request), Failure::Tls("ä".repeat(TEXT_MAX)));
    }
}

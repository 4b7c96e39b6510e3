use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Why a text is not an address that a VIP or a backend can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are named for what they hold")]
pub enum AddressError {
    /// Neither of the forms.
    #[error("{text:?} is not an address and a port")]
    Malformed { text: String },
    /// `10.0.0.1/24`
    #[error("{text:?} has a prefix length, and a single address is wanted")]
    PrefixLength { text: String, without: String },
    /// `master1:6443`
    #[error("{text:?} is a name, and an IP address is wanted")]
    HostName { text: String },
    /// `10.0.0.1`
    #[error("{text:?} has no port")]
    NoPort { text: String, ip: IpAddr },
    /// `10.0.0.1:66000`
    #[error("{port:?} is not a port, in 1 to 65535")]
    BadPort { port: String },
    /// `10.0.0.1:0`
    #[error("port 0 in {text:?}")]
    PortZero { text: String },
    /// `[::ffff:10.0.0.1]:6443`
    #[error("{text:?} is an IPv4 address in IPv6 form")]
    V4Mapped { text: String, v4: SocketAddr },
    /// `[fe80::1%2]:6443`
    #[error("{text:?} has a zone, and an address that is the same on every interface is wanted")]
    Zone { text: String },
    /// `0.0.0.0`, a group, or everybody.
    #[error("{text:?} is {class} address, and no single host has it")]
    NoHost { text: String, class: &'static str },
}

impl AddressError {
    /// How to write it instead.
    pub(super) fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Malformed { .. } | Self::HostName { .. } => {
                "write it as 192.168.0.2:6443 or \"[fd00::2]:6443\"".to_owned()
            }
            Self::PrefixLength { without, .. } => format!("write {without}"),
            Self::NoPort { ip: ip @ IpAddr::V4(_), .. } => format!("write {}", SocketAddr::new(*ip, 6443)),
            Self::NoPort { ip: IpAddr::V6(_), .. } => {
                "write an IPv6 address in brackets, then the port: \"[fd00::2]:6443\"".to_owned()
            }
            Self::V4Mapped { v4, .. } => format!("write {v4}"),
            Self::PortZero { .. } => "ports are 1 to 65535".to_owned(),
            Self::BadPort { .. } | Self::Zone { .. } | Self::NoHost { .. } => return None,
        };
        Some(text)
    }
}

/// Reads the address of a VIP or a backend: one host's, with a port.
pub(super) fn host_address(text: &str) -> Result<SocketAddr, AddressError> {
    let address: SocketAddr = text.parse().map_err(|_| diagnose(text))?;
    let owned = || text.to_owned();
    if let SocketAddr::V6(v6) = address {
        if v6.scope_id() != 0 {
            return Err(AddressError::Zone { text: owned() });
        }
        if let Some(ip) = v6.ip().to_ipv4_mapped() {
            let v4 = SocketAddr::new(ip.into(), v6.port());
            return Err(AddressError::V4Mapped { text: owned(), v4 });
        }
    }
    if address.port() == 0 {
        return Err(AddressError::PortZero { text: owned() });
    }
    let class = match address.ip() {
        ip if ip.is_unspecified() => "the unspecified",
        ip if ip.is_multicast() => "a multicast",
        IpAddr::V4(Ipv4Addr::BROADCAST) => "the broadcast",
        IpAddr::V4(_) | IpAddr::V6(_) => return Ok(address),
    };
    Err(AddressError::NoHost { text: owned(), class })
}

/// Reads an address to listen on: any local one, with a port.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, AddressError> {
    let address: SocketAddr = text.parse().map_err(|_| diagnose(text))?;
    if address.port() == 0 { Err(AddressError::PortZero { text: text.to_owned() }) } else { Ok(address) }
}

/// What kept a text from being an address and a port.
fn diagnose(text: &str) -> AddressError {
    let owned = || text.to_owned();
    if let Some((before, after)) = text.split_once('/') {
        let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        return AddressError::PrefixLength { text: owned(), without: with_port(&format!("{before}{rest}")) };
    }
    let unbracketed = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = unbracketed.parse::<IpAddr>() {
        return AddressError::NoPort { text: owned(), ip };
    }
    let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let bracketed = host.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let host_is_ip =
        host.parse::<Ipv4Addr>().is_ok() || bracketed.is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    if let (true, Some(port)) = (host_is_ip, port) {
        return AddressError::BadPort { port: port.to_owned() };
    }
    let in_a_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    if host.chars().all(in_a_name) && host.contains(|c: char| c.is_ascii_alphabetic()) {
        return AddressError::HostName { text: owned() };
    }
    AddressError::Malformed { text: owned() }
}

/// The text with a port, if all that it lacks is one: for a hint.
fn with_port(text: &str) -> String {
    match text.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, 6443).to_string(),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_port_is_an_address() {
        for text in ["10.103.97.2:6443", "[fd00::2]:1", "127.0.0.1:65535", "[fe80::1]:6443"] {
            assert_eq!(host_address(text).unwrap(), text.parse().unwrap());
        }
        assert!(listen_address("0.0.0.0:9464").is_ok(), "every local address can be listened on");
    }

    #[test]
    fn anything_else_is_refused_for_its_own_reason() {
        for (text, message, hint) in [
            ("10.0.0.1/24:6443", "prefix length", "write 10.0.0.1:6443"),
            ("10.0.0.1/24", "prefix length", "write 10.0.0.1:6443"),
            ("[fd00::2]/64:6443", "prefix length", "write [fd00::2]:6443"),
            ("10.0.0.1", "has no port", "write 10.0.0.1:6443"),
            ("fd00::2", "has no port", "in brackets"),
            ("[fd00::2]", "has no port", "in brackets"),
            ("fd00::2:6443", "has no port", "in brackets"),
            ("10.0.0.1:66000", "\"66000\" is not a port", ""),
            ("10.0.0.1:", "\"\" is not a port", ""),
            ("[fd00::2]:http", "\"http\" is not a port", ""),
            ("10.0.0.1:0", "port 0", "1 to 65535"),
            ("master1:6443", "is a name", "192.168.0.2:6443"),
            ("master-1.example.org", "is a name", "192.168.0.2:6443"),
            ("", "not an address and a port", "192.168.0.2:6443"),
            ("10.0.0.256:6443", "not an address and a port", "192.168.0.2:6443"),
            ("[::ffff:1.2.3.4]:6443", "IPv4 address in IPv6 form", "write 1.2.3.4:6443"),
            ("[fe80::1%2]:6443", "has a zone", ""),
            ("0.0.0.0:6443", "the unspecified", ""),
            ("[::]:6443", "the unspecified", ""),
            ("224.0.0.1:6443", "a multicast", ""),
            ("[ff02::1]:6443", "a multicast", ""),
            ("255.255.255.255:6443", "the broadcast", ""),
        ] {
            let error = host_address(text).unwrap_err();
            assert!(error.to_string().contains(message), "{text}: {error}");
            assert!(error.hint().unwrap_or_default().contains(hint), "{text}: {:?}", error.hint());
        }
        assert!(listen_address("127.0.0.1:0").is_err());
        assert!(listen_address("localhost:9464").is_err());
    }
}

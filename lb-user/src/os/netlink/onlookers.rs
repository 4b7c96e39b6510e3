//! Who looks at packets that the node's stack forwards, beside the stack itself.

use std::{fs, io};

use super::{
    attribute::{self, Attributes},
    nfnl::{Message, Nfnl, kind},
    xfrm,
};

/// The tables of the old iptables that this thread's network namespace has; missing without ip_tables.
const LEGACY: [(&str, &str); 2] = [
    ("iptables", "/proc/thread-self/net/ip_tables_names"),
    ("ip6tables", "/proc/thread-self/net/ip6_tables_names"),
];
/// NFPROTO_*, include/uapi/linux/netfilter.h, but for those that see bridges' frames and ARP.
const FAMILIES: [(u8, &str); 4] = [(1, "inet"), (2, "ip"), (5, "netdev"), (10, "ip6")];

/// Tables of netfilter, and IPsec's policies. Whatever is in a table: one that only looks at what is for the node has
/// nf_conntrack follow forwarded connections too, and that must see all of them or nothing.
///
/// # Errors
/// When the kernel refuses or is silent.
pub fn list() -> io::Result<Vec<String>> {
    let mut found = nftables()?;
    for (name, path) in LEGACY {
        match fs::read_to_string(path) {
            Ok(tables) => found.extend(tables.lines().map(|table| format!("{name} {table}"))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    if xfrm::has_policies()? {
        found.push("IPsec policies".to_owned());
    }
    Ok(found)
}

fn nftables() -> io::Result<Vec<String>> {
    let all = Message { kind: kind::GET_TABLE, flags: 0, family: 0, attributes: Attributes::default() };
    let tables = match Nfnl::open().and_then(|mut nfnl| nfnl.dump(&all)) {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => return Ok(Vec::new()),
        tables => tables?.unwrap_or_default(),
    };
    let names = tables.iter().filter_map(|table| {
        let (_, family) = FAMILIES.iter().find(|(number, _)| *number == table.family)?;
        // NFTA_TABLE_NAME.
        Some(format!("nftables {family} {}", attribute::text(&table.attributes, 1)?))
    });
    Ok(names.collect())
}

//! Our nftables table, `lbctl`, in the families ip and ip6: made over netlink as one, so that a packet finds all of it
//! or none.
//!
//! Its set `vips` holds the VIPs that are ours. That is what its rules match, and also what tells our IPVS services,
//! which cannot be marked, from others'. The set `refused` holds those that nobody serves. A family without a VIP has no table. A kernel that lacks nf_tables, and cannot
//! load it, shows as [`io::ErrorKind::Unsupported`].

mod look;
mod plan;

use std::{collections::BTreeSet, io, net::SocketAddr};

use lb_core::model::Scope;
use netlink_packet_core::NLM_F_CREATE;
use rustix::io::Errno;

use self::{
    look::{Content, Found},
    plan::{Chain, Family, Set, TABLE},
};
use crate::os::netlink::{
    attribute::{self, Attributes},
    is,
    nfnl::{self, Message, Nfnl, Refusal, kind},
};

/// Set elements in one message: an attribute holds 64 KiB, and an IPv6 element takes 32 bytes.
const ELEMENTS: usize = 1024;

/// What our tables say, both families together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Whom the VIPs serve.
    pub scope: Scope,
    /// The VIPs that are ours.
    pub vips: BTreeSet<SocketAddr>,
    /// Those among them that nobody serves: connects are refused at once.
    pub refused: BTreeSet<SocketAddr>,
}

/// What our tables say. `None`: there are none, or one is not complete or not as we make it, whoever changed it. A set
/// that somebody emptied shows as a set without those VIPs.
///
/// # Errors
/// When the kernel lacks nf_tables, refuses or is silent.
pub fn observe() -> io::Result<Option<Table>> {
    let mut nfnl = Nfnl::open()?;
    let mut table: Option<Table> = None;
    for family in Family::ALL {
        match look::look(&mut nfnl, family)? {
            Found::Absent => {}
            Found::Damaged => return Ok(None),
            Found::Sound(Content { scope, vips, refused }) => match &mut table {
                Some(table) if table.scope != scope => return Ok(None),
                Some(table) => {
                    table.vips.extend(vips);
                    table.refused.extend(refused);
                }
                None => table = Some(Table { scope, vips, refused }),
            },
        }
    }
    Ok(table)
}

/// Makes our tables say this, whatever was in them: each family's in one transaction. With no VIP there is no table.
/// Should one family fail, the other is as wanted all the same.
///
/// Where only VIPs come or go, only these are written. Else the table is made anew. The kernel goes over from the old
/// rules to the new ones at one instant, but between two chains a packet may see it pass, and then match in neither;
/// under load this did not happen once in 5,000 times.
///
/// # Errors
/// When the kernel lacks nf_tables or a part of it ([`io::ErrorKind::Unsupported`]), refuses or is silent.
pub fn replace(table: &Table) -> io::Result<()> {
    let mut outcome = Ok(());
    for family in Family::ALL {
        let own = |vips: &BTreeSet<SocketAddr>| vips.iter().copied().filter(|vip| family.has(vip)).collect();
        let (vips, refused) = (own(&table.vips), own(&table.refused));
        outcome = outcome.and(replace_family(family, &Content { scope: table.scope, vips, refused }));
    }
    outcome
}

fn replace_family(family: Family, wanted: &Content) -> io::Result<()> {
    if wanted.vips.is_empty() {
        return delete(family).map(drop);
    }
    match look::look(&mut Nfnl::open()?, family)? {
        // It may have been changed since the look: then it is made anew.
        Found::Sound(held) if held.scope == wanted.scope && adjust(family, &held, wanted).is_ok() => Ok(()),
        Found::Sound(_) | Found::Damaged | Found::Absent => make_anew(family, wanted),
    }
}

/// The VIPs that are ours, even where the rest of a table is not as we make it. Without nf_tables there are none.
///
/// # Errors
/// When the kernel refuses or is silent.
pub fn owned() -> io::Result<BTreeSet<SocketAddr>> {
    let look = || {
        let mut nfnl = Nfnl::open()?;
        let mut vips = BTreeSet::new();
        for family in Family::ALL {
            vips.extend(look::elements(&mut nfnl, family, Set::Vips)?.unwrap_or_default());
        }
        Ok(vips)
    };
    or_nothing(look())
}

/// Removes our tables; whether there was one. Without nf_tables there was none.
///
/// # Errors
/// When the kernel refuses or is silent.
pub fn remove() -> io::Result<bool> {
    let mut removed = false;
    for family in Family::ALL {
        removed |= or_nothing(delete(family))?;
    }
    Ok(removed)
}

fn or_nothing<T: Default>(asked: io::Result<T>) -> io::Result<T> {
    match asked {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => Ok(T::default()),
        asked => asked,
    }
}

/// The names of all chains of others that `wanted` accepts, as `family table chain`.
pub(super) fn chains(wanted: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
    let mut nfnl = Nfnl::open()?;
    let all = Message { kind: kind::GET_CHAIN, flags: 0, family: 0, attributes: Attributes::default() };
    let objects = nfnl.dump(&all)?.unwrap_or_default();
    let names = objects.iter().filter_map(|object| {
        let family = Family::ALL.into_iter().find(|family| family.number() == object.family)?;
        // NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME.
        let name = attribute::text(&object.attributes, 3).filter(|name| wanted(name))?;
        Some(format!("{} {} {name}", family.name(), attribute::text(&object.attributes, 1)?))
    });
    Ok(names.collect())
}

fn delete(family: Family) -> io::Result<bool> {
    match Nfnl::open()?.commit(&[delete_table(family)]) {
        Ok(()) => Ok(true),
        Err(refusal) if is(&refusal.cause, Errno::NOENT) => Ok(false),
        Err(refusal) => Err(explain(refusal, family, &["delete the table"])),
    }
}

/// Adds and deletes only what differs.
fn adjust(family: Family, held: &Content, wanted: &Content) -> Result<(), Refusal> {
    let mut messages = Vec::new();
    for set in Set::ALL {
        let (held, wanted) = (held.of(set), wanted.of(set));
        let mut add = |kind, vips: &BTreeSet<SocketAddr>, others: &BTreeSet<SocketAddr>| {
            let vips: Vec<_> = vips.difference(others).copied().collect();
            messages.extend(vips.chunks(ELEMENTS).map(|part| elements(family, set, kind, part)));
        };
        add(kind::NEW_SET_ELEMENT, wanted, held);
        add(kind::DELETE_SET_ELEMENT, held, wanted);
    }
    if messages.is_empty() { Ok(()) } else { Nfnl::open()?.commit(&messages) }
}

/// The table is made before it is deleted so that it can be deleted whether it was there or not.
fn make_anew(family: Family, wanted: &Content) -> io::Result<()> {
    let mut messages = vec![
        ("make the table", new_table(family)),
        ("delete the table", delete_table(family)),
        ("make the table", new_table(family)),
    ];
    messages.extend(Set::ALL.map(|set| ("make a set", new_set(family, set))));
    for set in Set::ALL {
        let vips: Vec<_> = wanted.of(set).iter().copied().collect();
        let parts = vips.chunks(ELEMENTS).map(|part| elements(family, set, kind::NEW_SET_ELEMENT, part));
        messages.extend(parts.map(|part| ("fill a set", part)));
    }
    for chain in plan::chains(wanted.scope) {
        messages.push(("make a chain", new_chain(family, &chain)));
        messages.push(("make a rule", new_rule(family, &chain)));
    }
    let (steps, messages): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
    Nfnl::open()?.commit(&messages).map_err(|refusal| explain(refusal, family, &steps))
}

/// What was being done, in the words of `steps`, one for each message. Past the table's own existence ENOENT and
/// EOPNOTSUPP mean that a part of nf_tables is missing, and cannot be loaded.
fn explain(refusal: Refusal, family: Family, steps: &[&str]) -> io::Error {
    let Refusal { message, cause, words } = refusal;
    let missing = is(&cause, Errno::NOENT) || is(&cause, Errno::OPNOTSUPP);
    let Some(step) = message.and_then(|message| steps.get(message)) else {
        return if missing { nfnl::lacking() } else { cause };
    };
    let kind = if missing { io::ErrorKind::Unsupported } else { cause.kind() };
    let words = words.map(|words| format!(" ({words})")).unwrap_or_default();
    let hint = if missing {
        " (hint: the kernel lacks a part of nf_tables: load nf_tables, nft_chain_nat, nft_masq, nft_ct and nft_reject)"
    } else {
        ""
    };
    io::Error::new(kind, format!("nftables {} {TABLE}: {step}: {cause}{words}{hint}", family.name()))
}

/// NFTA_TABLE_NAME.
fn new_table(family: Family) -> Message {
    make(family, kind::NEW_TABLE, Attributes::default().text(1, TABLE))
}

fn delete_table(family: Family) -> Message {
    let attributes = Attributes::default().text(1, TABLE);
    Message { kind: kind::DELETE_TABLE, flags: 0, family: family.number(), attributes }
}

/// NFTA_SET_TABLE, NFTA_SET_NAME, NFTA_SET_FLAGS, NFTA_SET_KEY_TYPE, NFTA_SET_KEY_LEN, NFTA_SET_ID.
fn new_set(family: Family, set: Set) -> Message {
    let named = Attributes::default().text(1, TABLE).text(2, set.name()).number(3, 0);
    let id = set as u32 + 1;
    let attributes = named.number(4, family.key_type()).number(5, family.key_length()).number(10, id);
    make(family, kind::NEW_SET, attributes)
}

/// NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS: NFTA_LIST_ELEM:
/// NFTA_SET_ELEM_KEY: NFTA_DATA_VALUE. A set that is made in the same transaction is found by its name too.
fn elements(family: Family, set: Set, kind: u16, vips: &[SocketAddr]) -> Message {
    let elements = vips.iter().fold(Attributes::default(), |elements, vip| {
        let key = Attributes::default().bytes(1, &family.key(vip));
        elements.nested(1, &Attributes::default().nested(1, &key))
    });
    make(family, kind, Attributes::default().text(1, TABLE).text(2, set.name()).nested(3, &elements))
}

/// NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK: NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY; NFTA_CHAIN_POLICY:
/// NF_ACCEPT; NFTA_CHAIN_TYPE.
fn new_chain(family: Family, chain: &Chain) -> Message {
    let hook = Attributes::default().number(1, chain.hook).number(2, chain.priority.cast_unsigned());
    let named = Attributes::default().text(1, TABLE).text(3, chain.name);
    make(family, kind::NEW_CHAIN, named.nested(4, &hook).number(5, 1).text(7, chain.kind))
}

/// NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS: NFTA_LIST_ELEM: NFTA_EXPR_NAME, NFTA_EXPR_DATA;
/// NFTA_RULE_USERDATA.
fn new_rule(family: Family, chain: &Chain) -> Message {
    let expressions =
        plan::rule(family, chain.rule).iter().fold(Attributes::default(), |list, expression| {
            let named = Attributes::default().text(1, expression.name);
            list.nested(1, &named.nested(2, &expression.attributes))
        });
    let named = Attributes::default().text(1, TABLE).text(2, chain.name);
    make(family, kind::NEW_RULE, named.nested(4, &expressions).bytes(7, &rule_userdata(chain.rule.comment())))
}

/// A comment as nft(8) writes it: kind (NFTNL_UDATA_RULE_COMMENT), length, text with its NUL.
fn rule_userdata(comment: &str) -> Vec<u8> {
    let mut bytes = vec![0, comment.len() as u8 + 1];
    bytes.extend_from_slice(comment.as_bytes());
    bytes.push(0);
    bytes
}

fn make(family: Family, kind: u16, attributes: Attributes) -> Message {
    Message { kind, flags: NLM_F_CREATE, family: family.number(), attributes }
}

//! Whether our tables are as we make them.

use std::{collections::BTreeSet, io, net::SocketAddr};

use lb_core::model::Scope;

use super::{
    Attributes, attribute,
    plan::{Chain, Family, Set, TABLE, chains, rule},
    rule_userdata,
};
use crate::os::netlink::nfnl::{Message, Nfnl, Object, kind};

/// One family's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is none.
    Absent,
    /// There is one, but not as we make it.
    Damaged,
    /// As we make it.
    Sound(Content),
}

/// What one family's table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) scope: Scope,
    pub(super) vips: BTreeSet<SocketAddr>,
    pub(super) refused: BTreeSet<SocketAddr>,
}

impl Content {
    pub(super) fn of(&self, set: Set) -> &BTreeSet<SocketAddr> {
        match set {
            Set::Vips => &self.vips,
            Set::Refused => &self.refused,
        }
    }
}

/// Looks at one family's table.
pub(super) fn look(nfnl: &mut Nfnl, family: Family) -> io::Result<Found> {
    // NFTA_TABLE_NAME.
    let table = nfnl.get(&question(family, kind::GET_TABLE, Attributes::default().text(1, TABLE)))?;
    let Some(table) = table else { return Ok(Found::Absent) };
    let Some(scope) = scope(nfnl, family, &table)? else { return Ok(Found::Damaged) };
    for set in Set::ALL {
        if !set_is_sound(nfnl, family, set)? {
            return Ok(Found::Damaged);
        }
    }
    let (vips, refused) = (elements(nfnl, family, Set::Vips)?, elements(nfnl, family, Set::Refused)?);
    let (Some(vips), Some(refused)) = (vips, refused) else { return Ok(Found::Damaged) };
    Ok(Found::Sound(Content { scope, vips, refused }))
}

/// The scope whose chains are all there.
fn scope(nfnl: &mut Nfnl, family: Family, table: &Object) -> io::Result<Option<Scope>> {
    for scope in [Scope::Node, Scope::Host] {
        let chains = chains(scope);
        let mut is_sound = is_table(table, chains.len());
        for chain in chains {
            is_sound =
                is_sound && chain_is_sound(nfnl, family, &chain)? && rule_is_sound(nfnl, family, &chain)?;
        }
        if is_sound {
            return Ok(Some(scope));
        }
    }
    Ok(None)
}

/// The VIPs in one of a family's sets; `None`: there is no set, or it holds what is no VIP.
pub(super) fn elements(
    nfnl: &mut Nfnl,
    family: Family,
    set: Set,
) -> io::Result<Option<BTreeSet<SocketAddr>>> {
    // NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET.
    let of_set = Attributes::default().text(1, TABLE).text(2, set.name());
    let Some(parts) = nfnl.dump(&question(family, kind::GET_SET_ELEMENT, of_set))? else { return Ok(None) };
    // NFTA_SET_ELEM_LIST_ELEMENTS: NFTA_LIST_ELEM: NFTA_SET_ELEM_KEY: NFTA_DATA_VALUE.
    let lists = parts.iter().filter_map(|part| attribute::find(&part.attributes, 3));
    let keys = lists.flat_map(attribute::read).map(|(_, element)| {
        attribute::find(element, 1).and_then(|key| attribute::find(key, 1)).and_then(|key| family.vip(key))
    });
    Ok(keys.collect())
}

/// Not dormant (NFTA_TABLE_FLAGS), and with nothing but our sets and our chains in it (NFTA_TABLE_USE).
fn is_table(table: &Object, chains: usize) -> bool {
    let number = |kind| attribute::number(&table.attributes, kind);
    number(2) == Some(0) && number(3).is_some_and(|users| users as usize == Set::ALL.len() + chains)
}

fn set_is_sound(nfnl: &mut Nfnl, family: Family, set: Set) -> io::Result<bool> {
    // NFTA_SET_TABLE, NFTA_SET_NAME.
    let of_table = Attributes::default().text(1, TABLE).text(2, set.name());
    let Some(set) = nfnl.get(&question(family, kind::GET_SET, of_table))? else { return Ok(false) };
    let number = |kind| attribute::number(&set.attributes, kind);
    // NFTA_SET_FLAGS, NFTA_SET_KEY_TYPE, NFTA_SET_KEY_LEN.
    Ok(number(3).unwrap_or(0) == 0
        && number(4) == Some(family.key_type())
        && number(5) == Some(family.key_length()))
}

/// Hooked where it should be, accepting what its rule leaves, with one rule.
fn chain_is_sound(nfnl: &mut Nfnl, family: Family, wanted: &Chain) -> io::Result<bool> {
    // NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME.
    let of_table = Attributes::default().text(1, TABLE).text(3, wanted.name);
    let Some(found) = nfnl.get(&question(family, kind::GET_CHAIN, of_table))? else { return Ok(false) };
    let bytes = &found.attributes;
    // NFTA_CHAIN_HOOK: NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY.
    let hook = |kind| attribute::find(bytes, 4).and_then(|hook| attribute::number(hook, kind));
    // NFTA_CHAIN_POLICY: NF_ACCEPT; NFTA_CHAIN_USE; NFTA_CHAIN_TYPE.
    Ok(hook(1) == Some(wanted.hook)
        && hook(2) == Some(wanted.priority.cast_unsigned())
        && attribute::number(bytes, 5) == Some(1)
        && attribute::number(bytes, 6) == Some(1)
        && attribute::text(bytes, 7) == Some(wanted.kind))
}

fn rule_is_sound(nfnl: &mut Nfnl, family: Family, chain: &Chain) -> io::Result<bool> {
    // NFTA_RULE_TABLE, NFTA_RULE_CHAIN.
    let of_chain = Attributes::default().text(1, TABLE).text(2, chain.name);
    let rules = nfnl.dump(&question(family, kind::GET_RULE, of_chain))?.unwrap_or_default();
    let [found] = &rules[..] else { return Ok(false) };
    // NFTA_RULE_EXPRESSIONS: NFTA_LIST_ELEM: NFTA_EXPR_NAME, NFTA_EXPR_DATA; NFTA_RULE_USERDATA.
    let expressions = attribute::find(&found.attributes, 4).unwrap_or_default();
    let found_expressions: Vec<_> = attribute::read(expressions).map(|(_, expression)| expression).collect();
    let wanted = rule(family, chain.rule);
    Ok(found_expressions.len() == wanted.len()
        && wanted.iter().zip(found_expressions).all(|(wanted, found)| {
            attribute::text(found, 1) == Some(wanted.name)
                && wanted.is_told_by(attribute::find(found, 2).unwrap_or_default())
        })
        && attribute::find(&found.attributes, 7) == Some(&rule_userdata(chain.rule.comment())))
}

fn question(family: Family, kind: u16, attributes: Attributes) -> Message {
    Message { kind, flags: 0, family: family.number(), attributes }
}

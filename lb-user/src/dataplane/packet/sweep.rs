//! Taking connections out of the table that are over, or that nothing was heard of for long. The table bounds itself; this
//! keeps it from being full of what nobody needs, and the counters right.

use std::{collections::BTreeMap, time::Duration};

use lb_common::packet::{FLOW_BACKEND_DONE, FLOW_CLIENT_DONE, FLOW_RESET, TALLY_ENDED};

use super::{
    evict::since_boot,
    kernel::{Entry, FlowMaps, PacketMaps, Stage},
};
use crate::dataplane::{DataplaneError, services::Tables};

/// How often.
pub const INTERVAL: Duration = Duration::from_secs(30);

/// What nf_conntrack gives TCP connections: nf_conntrack_tcp_timeout_syn_sent, _time_wait, _close and _established,
/// <https://docs.kernel.org/networking/nf_conntrack-sysctl.html>.
const OPENING: Duration = Duration::from_secs(120);
const TIME_WAIT: Duration = Duration::from_secs(120);
const RESET: Duration = Duration::from_secs(10);
const OPEN: Duration = Duration::from_secs(5 * 24 * 60 * 60);

/// Goes through the table once.
pub fn sweep(flows: &mut FlowMaps, tables: &mut Tables<PacketMaps>) -> Result<(), DataplaneError> {
    let now = since_boot();
    let (mut over, mut open) = (Vec::new(), BTreeMap::<_, u64>::new());
    flows.each(|entry| {
        if idle(&entry, now) >= patience(&entry) {
            over.push(entry);
        } else if is_counted(&entry) {
            *open.entry((entry.vip, entry.backend)).or_default() += 1;
        }
    })?;
    for entry in &over {
        flows.forget(entry)?;
        tables.maps().tell().add_to_tally(TALLY_ENDED, 1);
    }
    for (pair, index) in tables.records_by_pair()? {
        tables.maps().set_active(index, open.get(&pair).copied().unwrap_or_default());
    }
    Ok(())
}

/// How long nothing was heard of it.
pub fn idle(entry: &Entry, now: Duration) -> Duration {
    now.saturating_sub(Duration::from_nanos(entry.flow.seen))
}

/// Whether both sides are done, or one has broken it off.
pub fn is_over(entry: &Entry) -> bool {
    let done = FLOW_CLIENT_DONE | FLOW_BACKEND_DONE;
    entry.flow.state & FLOW_RESET != 0 || entry.flow.state & done == done
}

fn is_counted(entry: &Entry) -> bool {
    entry.stage == Stage::Open && !is_over(entry)
}

fn patience(entry: &Entry) -> Duration {
    match entry.stage {
        Stage::Opening => OPENING,
        Stage::Open if entry.flow.state & FLOW_RESET != 0 => RESET,
        Stage::Open if is_over(entry) => TIME_WAIT,
        Stage::Open => OPEN,
    }
}

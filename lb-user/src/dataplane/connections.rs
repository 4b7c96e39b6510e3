//! The connections that the kernel translates packet by packet.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use lb_core::view::{
    ServiceView,
    connections::{Collector, Connection, ConnectionFilter, ConnectionTableView, Table},
};

use super::{DataplaneError, packet::PacketDataplane, socket::SocketDataplane};

/// Counting a table again is put off for so many times what it took: a scrape every second of a table with a million entries
/// is no work to speak of.
const REST: u32 = 100;

/// Those that are asked for, named by the services that there are. Reads the kernel, and changes nothing.
pub fn connections(
    bpffs: &Path,
    filter: &ConnectionFilter,
    services: &[ServiceView],
) -> Result<ConnectionTableView, DataplaneError> {
    let mut collector = Collector::new(filter, services);
    let table = dump(bpffs, &mut |connection| collector.take(connection))?;
    Ok(collector.finish(table))
}

/// Tells `each` every connection of the table, which may be long, one by one; `None`: there is no table.
fn dump(bpffs: &Path, each: &mut dyn FnMut(Connection)) -> Result<Option<Table>, DataplaneError> {
    let packet = PacketDataplane::peek_connections(bpffs, each)?;
    let rescued = SocketDataplane::peek_rescued(bpffs, each)?;
    Ok(match (packet, rescued) {
        (Some(mut table), Some(of_sockets)) => {
            table.counted.begun += of_sockets.counted.begun;
            table.counted.rescued += of_sockets.counted.rescued;
            Some(table)
        }
        (packet, rescued) => packet.or(rescued),
    })
}

/// Answers who asks for connections again and again.
pub struct Connections {
    bpffs: PathBuf,
    counts: Mutex<Option<Counts>>,
}

/// How many connections there were.
struct Counts {
    view: ConnectionTableView,
    /// Until when they will do.
    fresh_until: Instant,
}

impl Connections {
    /// For what is pinned there.
    pub fn new(bpffs: PathBuf) -> Self {
        Self { bpffs, counts: Mutex::new(None) }
    }

    /// As [`connections`]; where only counts are asked for, of a table that takes long to read, perhaps those that were told
    /// a while ago.
    pub fn list(
        &self,
        filter: &ConnectionFilter,
        services: &[ServiceView],
    ) -> Result<ConnectionTableView, DataplaneError> {
        if *filter != ConnectionFilter::COUNTS {
            return connections(&self.bpffs, filter, services);
        }
        let mut known = self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(counts) = known.as_ref().filter(|counts| Instant::now() < counts.fresh_until) {
            return Ok(counts.view.clone());
        }
        let began = Instant::now();
        let view = connections(&self.bpffs, filter, services)?;
        let fresh_until = Instant::now() + rest(began.elapsed());
        Ok(known.insert(Counts { view, fresh_until }).view.clone())
    }
}

/// Nobody waits for what takes next to nothing.
fn rest(took: Duration) -> Duration {
    if took < Duration::from_millis(2) { Duration::ZERO } else { took * REST }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_table_is_not_counted_at_every_scrape() {
        assert_eq!(rest(Duration::from_millis(1)), Duration::ZERO);
        assert_eq!(rest(Duration::from_millis(300)), Duration::from_secs(30));
    }
}

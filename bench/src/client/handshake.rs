//! A new connection, TLS and one request.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use lb_tests::tls;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::dialer::Dialer;
use super::exchange::Exchange;
use super::{Args, Schedule, Work};

pub(super) fn run(dialer: &Dialer<'_>, schedule: Schedule, args: &Args) -> anyhow::Result<Work> {
    let config = tls::client_config(args.ca.as_deref().context("tls needs --ca")?)?;
    let name = args.server_name.clone().context("tls needs --server-name")?;
    let name = ServerName::try_from(name).context("read --server-name")?;
    let mut work = Work::default();
    while !schedule.is_over() {
        let began = Instant::now();
        let connection = ClientConnection::new(Arc::clone(&config), name.clone()).context("begin TLS")?;
        let mut exchange = Exchange::new(StreamOwned::new(connection, dialer.dial()?));
        exchange.get("/whoami", |_| ())?;
        work.samples.record(schedule.counts(began), began.elapsed());
    }
    Ok(work)
}

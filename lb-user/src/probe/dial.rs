use std::{net::SocketAddr, time::Duration};

use lb_core::probe::{Failure, Phase};
use tokio::net::TcpStream;

use super::{
    failure::{self, Trouble},
    http1::Http1,
    plan::{Check, HttpPlan, Plan},
    pulse::Pulse,
    tls::HTTP2,
};
use crate::os::source_port;

/// Makes a TCP connection.
pub(super) async fn tcp(plan: &Plan) -> Result<TcpStream, Trouble> {
    let stream = source_port::connect(plan.address).await.map_err(|error| failure::of_connect(&error))?;
    // To a port of this host that nobody listens on, a socket can connect to itself, when it is given that very port.
    if stream.local_addr().is_ok_and(|own| own == plan.address) {
        return Err(Failure::Refused.into());
    }
    stream.set_nodelay(true).map_err(|error| failure::of_connect(&error))?;
    Ok(stream)
}

/// Makes a connection for requests, and gives our end of it; `phase` tells how far it came.
pub(super) async fn http(
    plan: &Plan,
    http: &HttpPlan,
    phase: &mut Phase,
) -> Result<(Box<Http1>, Option<SocketAddr>), Trouble> {
    *phase = Phase::Connect;
    let stream = tcp(plan).await?;
    let own = stream.local_addr().ok();
    let Some(tls) = &http.tls else {
        *phase = Phase::Request;
        return Ok((Box::new(Http1::begin(Box::new(stream)).await?), own));
    };
    *phase = Phase::Handshake;
    let stream = tls
        .requests
        .connect(tls.name.clone(), stream)
        .await
        .map_err(|error| failure::of_io(&error, Phase::Handshake))?;
    *phase = Phase::Request;
    Ok((Box::new(Http1::begin(Box::new(stream)).await?), own))
}

/// Makes a connection for PINGs; `None`: it did not come about, or the backend does not speak HTTP/2.
pub(super) async fn pulse(plan: &Plan, heartbeat: Duration) -> Option<Pulse> {
    let Check::Http(http) = &plan.check else { return None };
    let tls = http.tls.as_ref()?;
    let stream = tcp(plan).await.ok()?;
    let stream = tls.pings.connect(tls.name.clone(), stream).await.ok()?;
    if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
        return None;
    }
    Pulse::begin(stream, heartbeat, plan.patience).await.ok()
}

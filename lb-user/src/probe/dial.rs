use std::net::SocketAddr;

use lb_core::probe::{Failure, Phase};
use tokio::net::TcpStream;

use super::{
    connection::Http,
    failure::{self, Trouble},
    http1::Http1,
    http2::Http2,
    plan::{HttpPlan, Plan},
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
) -> Result<(Http, Option<SocketAddr>), Trouble> {
    *phase = Phase::Connect;
    let stream = tcp(plan).await?;
    let own = stream.local_addr().ok();
    let Some((connector, name)) = &http.tls else {
        *phase = Phase::Request;
        return Ok((Http::One(Box::new(Http1::begin(Box::new(stream)).await?)), own));
    };
    *phase = Phase::Handshake;
    let stream = connector
        .connect(name.clone(), stream)
        .await
        .map_err(|error| failure::of_io(&error, Phase::Handshake))?;
    *phase = Phase::Request;
    let http = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        Http::Two(Box::new(Http2::begin(stream, plan.heartbeat, plan.patience).await?))
    } else {
        Http::One(Box::new(Http1::begin(Box::new(stream)).await?))
    };
    Ok((http, own))
}

//! One connection as it looks at every hook on its way, with its packets run through all of them.

use std::net::SocketAddr;

use lb_common::packet::Flow;
use lb_user::dataplane::services::encode;

use super::{
    kernel::{Hook, Interface, Verdict},
    packet::{ACK, Body, Packet, SYN, Segment},
    setup::{Setup, Table},
};

/// Who begins it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client for whom the node forwards.
    Forwarded,
    /// A process of the node's.
    Host,
    /// One of the node's, to a backend on the node itself.
    HostLocal,
}

/// What a packet becomes on its way: at each hook its ends, and what the program says.
pub struct Step {
    pub hook: Hook,
    pub before: (SocketAddr, SocketAddr),
    pub after: (SocketAddr, SocketAddr),
    pub verdict: Verdict,
    /// It is for the loopback interface to receive, with a link header of its own.
    pub is_turned: bool,
}

impl Step {
    /// What becomes of a packet at this hook, and what the program says. An error that a router sent to the node stays at the interface
    /// that leads to the router.
    pub fn makes_of(&self, packet: &Packet) -> (Packet, Verdict) {
        let wanted = packet.between(self.after.0, self.after.1);
        let is_routers = matches!(packet.body, Body::Error { .. }) && packet.src.ip() != self.before.0.ip();
        match (self.is_turned, is_routers) {
            (true, true) => (wanted, Verdict::Next),
            (true, false) => (wanted.on_loopback(), self.verdict),
            (false, _) => (wanted, self.verdict),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    pub kind: Kind,
    pub client: SocketAddr,
    pub vip: SocketAddr,
    pub backend: SocketAddr,
    /// As the backend sees the client.
    pub source: SocketAddr,
}

impl Conversation {
    /// Sends a SYN and takes from the table what came of it.
    pub fn begin(setup: &mut Setup, kind: Kind) -> Self {
        let family = setup.form.family;
        let client = match kind {
            Kind::Forwarded => family.client(),
            Kind::Host | Kind::HostLocal => SocketAddr::new(family.node(), 40_123),
        };
        if kind == Kind::HostLocal {
            setup.lead_home();
        }
        Self::begin_from(setup, kind, client)
    }

    /// As [`Self::begin`], from these ends.
    #[track_caller]
    pub fn begin_from(setup: &mut Setup, kind: Kind, client: SocketAddr) -> Self {
        let vip = setup.form.family.vip();
        let hook = match kind {
            Kind::Forwarded => setup.comes_in(Interface::Facing),
            Kind::Host | Kind::HostLocal => setup.goes_out(Interface::Loopback),
        };
        let syn = setup.tcp(hook, client, vip, SYN);
        let found = setup.kernel.run(hook, &syn.bytes());
        let this = Self::known(setup, kind, client);
        let (src, dst) = this.toward(setup)[0].after;
        assert_eq!(found.bytes, syn.between(src, dst).bytes());
        this
    }

    /// As the table has it.
    #[track_caller]
    pub fn known(setup: &mut Setup, kind: Kind, client: SocketAddr) -> Self {
        let (_, node, flow) = setup.known(client).expect("it is in the table");
        let port = u16::from_be(node.port as u16);
        let source = encode::socket_addr(&lb_common::Endpoint::new(flow.source, 0)).ip();
        Self {
            kind,
            client,
            vip: setup.form.family.vip(),
            backend: encode::socket_addr(&node.backend),
            source: SocketAddr::new(source, port),
        }
    }

    /// One that both sides have agreed to.
    pub fn open(setup: &mut Setup, kind: Kind) -> Self {
        Self::begin(setup, kind).agreed(setup)
    }

    /// As [`Self::open`], from these ends.
    pub fn open_from(setup: &mut Setup, kind: Kind, client: SocketAddr) -> Self {
        Self::begin_from(setup, kind, client).agreed(setup)
    }

    fn agreed(self, setup: &mut Setup) -> Self {
        self.answers(setup, SYN | ACK, |_| {});
        self.sends(setup, ACK, |_| {});
        let (table, ..) = setup.known(self.client).unwrap();
        assert_eq!(table, Table::Open);
        self
    }

    /// The way to the backend.
    pub fn toward(&self, setup: &Setup) -> Vec<Step> {
        let Self { kind, client, vip, backend, source } = *self;
        let middle = SocketAddr::new(client.ip(), source.port());
        let step = |hook, before, after, verdict| Step { hook, before, after, verdict, is_turned: false };
        match kind {
            Kind::Forwarded => vec![
                step(setup.comes_in(Interface::Facing), (client, vip), (middle, backend), Verdict::Next),
                step(setup.goes_out(Interface::Uplink), (middle, backend), (source, backend), Verdict::Next),
            ],
            Kind::Host | Kind::HostLocal => {
                let lo = setup.goes_out(Interface::Loopback);
                vec![step(lo, (client, vip), (source, backend), Verdict::Redirect)]
            }
        }
    }

    /// The way from the backend.
    pub fn back(&self, setup: &Setup) -> Vec<Step> {
        let Self { kind, client, vip, backend, source } = *self;
        let middle = SocketAddr::new(client.ip(), source.port());
        let step = |hook, before, after, verdict, is_turned| Step { hook, before, after, verdict, is_turned };
        match kind {
            Kind::Forwarded => vec![
                step(
                    setup.comes_in(Interface::Uplink),
                    (backend, source),
                    (backend, middle),
                    Verdict::Next,
                    false,
                ),
                step(
                    setup.goes_out(Interface::Facing),
                    (backend, middle),
                    (vip, client),
                    Verdict::Next,
                    false,
                ),
            ],
            Kind::Host => {
                let hook = setup.comes_in(Interface::Uplink);
                let is_turned = setup.way.in_place == 0;
                let verdict = if is_turned { Verdict::Redirect } else { Verdict::Next };
                vec![step(hook, (backend, source), (vip, client), verdict, is_turned)]
            }
            Kind::HostLocal => {
                let lo = setup.goes_out(Interface::Loopback);
                vec![step(lo, (backend, source), (vip, client), Verdict::Redirect, false)]
            }
        }
    }

    /// Has a packet go all the way, and every byte of it compared at each hook. `make` makes it between the ends of the first.
    #[track_caller]
    pub fn goes(&self, setup: &mut Setup, steps: &[Step], make: impl Fn(&Setup, &Step) -> Packet) {
        for step in steps {
            let packet = make(setup, step);
            let (wanted, verdict) = step.makes_of(&packet);
            setup.becomes(step.hook, &packet, verdict, &wanted);
        }
    }

    /// A segment of the client's goes all the way.
    #[track_caller]
    pub fn sends(&self, setup: &mut Setup, flags: u8, change: impl Fn(&mut Segment)) {
        let steps = self.toward(setup);
        self.goes(setup, &steps, |setup, step| {
            setup.tcp(step.hook, step.before.0, step.before.1, flags).with(&change)
        });
    }

    /// A segment of the backend's.
    #[track_caller]
    pub fn answers(&self, setup: &mut Setup, flags: u8, change: impl Fn(&mut Segment)) {
        let steps = self.back(setup);
        self.goes(setup, &steps, |setup, step| {
            setup.tcp(step.hook, step.before.0, step.before.1, flags).with(&change)
        });
    }

    pub fn flow(&self, setup: &mut Setup) -> Flow {
        setup.known(self.client).expect("it is in the table").2
    }
}

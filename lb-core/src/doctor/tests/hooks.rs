use super::*;
use Severity::{Fail, Ok as Good, Warn};

#[test]
fn the_hooks_effect() {
    let unsteered: Change = |facts| facts.connects[0].peer = Ok(VIP.parse().unwrap());
    check(
        Code::HookEffect,
        &[
            (|_| (), Good, "goes to 192.168.0.2:6443"),
            (|f| f.agent = agent(DataplaneKind::Socket, Some("wrong cgroup")), Fail, "wrong cgroup"),
            (unsteered, Fail, "is not steered"),
            (
                |f| {
                    f.connects[0].peer = Ok(VIP.parse().unwrap());
                    f.lives_in_cgroup = false;
                },
                Warn,
                "outside the agent's cgroup",
            ),
            (
                |f| {
                    f.connects[0].peer = Ok(VIP.parse().unwrap());
                    f.held = Some(DataplaneKind::Ipvs.into());
                },
                Good,
                "is answered",
            ),
            (|f| f.connects[0].peer = Err("timed out".to_owned()), Warn, "timed out"),
            (
                |f| {
                    f.agent = Some(AgentFact::NotRunning);
                    f.held = None;
                    f.connects.clear();
                },
                Good,
                "nothing is programmed",
            ),
        ],
    );
}

fn program(name: &str) -> AttachedProgram {
    AttachedProgram { hook: "connect4".to_owned(), id: 7, name: name.to_owned() }
}

#[test]
fn programs_of_others() {
    check(
        Code::HookForeign,
        &[
            (|_| (), Good, "no programs of others"),
            (
                |f| f.hooks.as_mut().unwrap().foreign.push(program("cil_sock4_conne")),
                Warn,
                "Cilium balances on the same hooks: cil_sock4_conne on connect4 (id 7)",
            ),
            (
                |f| f.hooks.as_mut().unwrap().foreign.push(program("somebody")),
                Warn,
                "programs of others on the same hooks: somebody",
            ),
            (|f| f.hooks.as_mut().unwrap().exclusive.push("connect4".to_owned()), Fail, "one program alone"),
        ],
    );
}

//! What every dataplane must do alike: each scenario is one function, run once per dataplane.
//!
//! `parity::socket::…`, `parity::ipvs::…` and `parity::packet::…` need a kernel with that dataplane, `parity::both::…` one
//! with the first two, `parity::beside::…` one with socket and packet; there they fail where it is missing, and are never
//! skipped.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

mod parity {
    mod addresses;
    mod auto;
    mod care;
    mod cleanup;
    mod container;
    mod distribution;
    mod faults;
    mod foreign;
    mod kernel;
    mod log;
    mod operator;
    mod pods;
    mod ports;
    mod restart;
    mod setup;
    mod switch;

    /// A module of tests, one for each scenario.
    macro_rules! scenarios {
        ($module:ident: $dataplane:expr; $($file:ident { $($scenario:ident)* })*) => {
            mod $module {
                use lb_tests::lab::Dataplane;

                use super::setup::Setup;

                $($(
                    #[test]
                    fn $scenario() {
                        super::$file::$scenario(Setup { dataplane: $dataplane });
                    }
                )*)*
            }
        };
    }

    /// The scenarios of one dataplane, and those that only it has.
    macro_rules! dataplane {
        ($module:ident: $dataplane:expr; $($own:tt)*) => {
            scenarios! { $module: $dataplane;
                addresses { ipv6 local_backend }
                cleanup { cleanup }
                distribution { random weights round_robin least_conn sticky }
                faults { crash power_loss hang recovery slow_start rebalance all_down }
                operator { drain disable }
                pods { pod scope_host }
                restart { restart restart_with_a_dead_master restart_with_a_shorter_config }
                $($own)*
            }
        };
    }

    dataplane! { socket: Dataplane::Socket; foreign { removed_link deleted_map_entry } log { kernel_log } faults { bounded } }
    dataplane! { ipvs: Dataplane::Ipvs; foreign { deleted_service foreign_service } ports { own_port } container { read_only_settings } }
    dataplane! { packet: Dataplane::Packet; switch { switch_to_packet } }
    scenarios! { beside: Dataplane::SocketAndPacket;
        addresses { ipv6 local_backend }
        cleanup { cleanup }
        distribution { weights }
        faults { crash power_loss recovery all_down }
        operator { drain disable }
        pods { pod scope_host }
        restart { restart restart_with_a_dead_master }
    }
    scenarios! { both: Dataplane::Unsaid; care { bare_pod bare_pod_without_ipvs } auto { exits_4_without_ipvs prefers_socket takes_ipvs_without_cgroup2 } switch { switch } }
}

//! The report.

use super::{Bar, Machine, Plot, Results, markdown, number};
use crate::contender::Contender;
use crate::failover::Failover;
use crate::probes::Probes;
use crate::steady::Steady;

impl Results {
    /// All bars of all sections.
    #[must_use]
    pub fn bars(&self) -> Vec<Bar> {
        let steady = self.steady.as_ref().map(Steady::bars);
        let forwarded = self.forwarded.as_ref().map(Steady::bars);
        let ipvs = self.ipvs.as_ref().map(Steady::bars_beside_ipvs);
        let ipvs_forwarded = self.ipvs_forwarded.as_ref().map(Steady::bars_beside_ipvs);
        let failover = self.failover.as_ref().map(Failover::bars);
        let probes = self.probes.as_ref().map(Probes::bars);
        [steady, forwarded, ipvs, ipvs_forwarded, failover, probes].into_iter().flatten().flatten().collect()
    }

    /// All pictures of all sections.
    #[must_use]
    pub fn plots(&self) -> Vec<Plot> {
        let steady = self.steady.as_ref().map(Steady::plots);
        let failover = self.failover.as_ref().map(Failover::plots);
        [steady, failover].into_iter().flatten().flatten().collect()
    }

    /// The report, Markdown.
    #[must_use]
    pub fn page(&self) -> String {
        let sections = [
            Some(self.introduction()),
            self.steady.as_ref().map(|steady| self.render_steady(steady)),
            self.forwarded.as_ref().map(render_forwarded),
            self.resources.as_ref().map(crate::resources::Resources::render),
            self.failover.as_ref().map(Failover::render),
            self.probes.as_ref().map(Probes::render),
            self.ipvs.as_ref().map(render_ipvs),
            self.ipvs_forwarded.as_ref().map(render_ipvs_forwarded),
            Some(configurations()),
        ];
        let sections: Vec<String> = sections.into_iter().flatten().filter(|text| !text.is_empty()).collect();
        format!("{}\n", sections.iter().map(|text| text.trim_end()).collect::<Vec<_>>().join("\n\n"))
    }

    fn introduction(&self) -> String {
        let mut text = String::from(
            "# Benchmarks\n\nlbctl beside other ways to reach three masters from a node, each in a network namespace of \
             its own on one machine: the same stand-ins for kube-apiserver, the same clients. Rendered by `cargo xtask \
             bench` from [results.json](results.json).\n",
        );
        if !self.quick.is_empty() {
            let parts: Vec<&str> = self.quick.iter().map(|part| part.name()).collect();
            text.push_str(&format!(
                "\n**Smoke test: measured so briefly that the figures mean little: {}.**\n",
                parts.join(", ")
            ));
        }
        if let Some(machine) = &self.machine {
            text.push_str(&format!("\n{}", describe(machine)));
        }
        for version in &self.versions {
            text.push_str(&format!("- {}: {}\n", version.program, version.line));
        }
        if !self.commands.is_empty() {
            let commands: Vec<&str> = self.commands.iter().map(String::as_str).collect();
            text.push_str(&format!("\nCommands, as root:\n\n{}", markdown::block(&commands.join("\n"))));
        }
        let bars: Vec<Vec<String>> = self.bars().iter().map(Bar::cells).collect();
        if !bars.is_empty() {
            let table = markdown::table(&["bar", "asked", "measured", "verdict"], &bars);
            text.push_str(&format!("\n## What lbctl is held to\n\n{table}"));
        }
        text
    }

    fn render_steady(&self, steady: &Steady) -> String {
        let rounds = steady.rounds();
        let plots: String =
            steady.plots().iter().map(|plot| format!("![{}]({})\n\n", plot.title, plot.file)).collect();
        format!(
            "## While nothing fails\n\nRounds: {rounds}. In each, every contender has two slices of {} s, in the order A \
             B C C B A. A figure is the median over the rounds; \"to direct\" is the median of its ratio to \
             *direct* in the same round, with the least and the greatest. *direct* is the client picking one of the masters at \
             random; *noise* is what two slices of it give that follow each other directly, the second divided by the first: \
             what lies within that says nothing. Only the clients of *lbctl socket* run in the cgroup with lbctl's hooks.\n\nProcessor time is the sum over \
             client, masters, the contender's processes and the kernel's softirq threads. connect() to a proxy ends \
             at the proxy: what lies behind it shows in the TLS handshake. The client calls it up to 256 times in a row, \
             then rests five times as long, so that no queue overflows; the rests do not count.\n\n{plots}{}",
            number(steady.slice_seconds),
            steady.render()
        )
    }
}

fn describe(machine: &Machine) -> String {
    let Machine { cpu, cores, memory, kernel, day } = machine;
    format!("- Machine: {cpu}, {cores} cores, {} GiB, Linux {kernel}; {day}\n", number(*memory))
}

fn render_forwarded(steady: &Steady) -> String {
    format!(
        "## While nothing fails, from a virtual machine\n\nAs above, but the client is in a network namespace behind an \
         interface of the node's, which forwards for it; *direct* is forwarding alone, and the masters know the way back to \
         the client. *lbctl packet* masquerades by default, so each is beside a rule that does the same. Rounds: {}, with slices of {} s.\n\n{}",
        steady.rounds(),
        number(steady.slice_seconds),
        steady.render()
    )
}

fn render_ipvs(steady: &Steady) -> String {
    format!(
        "## IPVS\n\nIn a virtual machine with Linux {} whose processor is emulated, and whose clock counts the instructions that it executes, two \
         nanoseconds each: so what else the machine does has no part in the figures, nor has what memory and caches take. Only the ratios \
         say something. A contender has been at work for {} s before its client begins: \
         an agent's start, at which the kernel verifies its programs, takes the only processor for one or two. Rounds: {}, with slices of {} s.{}\n\n{}",
        steady.kernel,
        number(steady.settle_seconds),
        steady.rounds(),
        number(steady.slice_seconds),
        smoke_test(steady),
        steady.render()
    )
}

fn render_ipvs_forwarded(steady: &Steady) -> String {
    format!(
        "## IPVS, from a virtual machine\n\nIn the same machine, but with the client behind an interface of the node's, which forwards \
         for it, as above. Rounds: {}, with slices of {} s.{}\n\n{}",
        steady.rounds(),
        number(steady.slice_seconds),
        smoke_test(steady),
        steady.render()
    )
}

fn smoke_test(steady: &Steady) -> &'static str {
    if steady.rounds() == 1 { " **A smoke test.**" } else { "" }
}

fn configurations() -> String {
    let mut text = String::from(
        "## Configurations\n\nThe masters' addresses stand where `@SERVERS@` and other names in `@` are. lbctl has its \
         defaults and the name of what was set beside them. Where the masters speak no TLS, the checks do not either.\n",
    );
    for contender in Contender::ALL {
        if let Some(configuration) = contender.configuration() {
            text.push_str(&format!("\n### {}\n\n{}", contender.name(), markdown::block(configuration)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Workload;
    use crate::report::Version;
    use crate::run::Part;
    use crate::steady::{Figure, Figures, Run, Unmeasured, Whence};

    /// Two rounds of downloads; the second on a machine of half the speed.
    fn results() -> Results {
        let run = |contender, values: [f64; 2]| Run {
            workload: Workload::Bulk,
            contender,
            rounds: values.map(|value| vec![Figures::from([(Figure::GibPerSecond, value)])]).to_vec(),
        };
        let why = "start ipvsadm: no such module".to_owned();
        let steady = Steady {
            slice_seconds: 1.5,
            runs: vec![run(Contender::Direct, [4.0, 2.0]), run(Contender::Socket, [3.96, 1.98])],
            unmeasured: vec![Unmeasured { workload: Workload::Bulk, contender: Contender::IpvsByHand, why }],
            ..Steady::default()
        };
        let machine = Machine {
            cpu: "Test CPU".into(),
            cores: 2,
            memory: 3.9,
            kernel: "6.1".into(),
            day: "2026-01-02".into(),
        };
        Results {
            machine: Some(machine),
            versions: vec![Version { program: "lbctl".into(), line: "lbctl 0.1.0".into() }],
            commands: ["cargo xtask bench --only steady".to_owned()].into(),
            steady: Some(steady),
            ..Results::default()
        }
    }

    #[test]
    fn the_report_has_machine_commands_bars_figures_and_configurations() {
        let page = results().page();
        for piece in [
            "- Machine: Test CPU, 2 cores, 3.90 GiB, Linux 6.1; 2026-01-02\n- lbctl: lbctl 0.1.0\n",
            "cargo xtask bench --only steady\n",
            "| lbctl socket / direct: download, GiB/s | >= 0.980 | 0.990 (0.990-0.990) | met |",
            "| lbctl socket / direct: connect() alone, p50, µs | <= 1.10 | - | not measured |",
            "| lbctl socket | 2.97 | 0.990 (0.990-0.990) | - | - |",
            "![download: GiB/s](throughput.svg)",
            "Not measured: ipvsadm, download: start ipvsadm: no such module",
            "    proxy_connect_timeout 1s;\n",
        ] {
            assert!(page.contains(piece), "{piece:?} is not in:\n{page}");
        }
        assert!(!page.contains("Smoke test"), "{page}");
    }

    #[test]
    fn beside_ipvs_clients_of_the_node_and_of_a_virtual_machine_are_kept_apart() {
        let beside = |whence, ours| {
            let run = |contender, value| Run {
                workload: Workload::Bulk,
                contender,
                rounds: vec![vec![Figures::from([(Figure::GibPerSecond, value)])]],
            };
            let runs = vec![
                run(Contender::Direct, 4.0),
                run(Contender::IpvsByHand, 2.0),
                run(Contender::Packet, ours),
            ];
            Some(Steady { whence, runs, ..Steady::default() })
        };
        let page =
            Results { ipvs: beside(Whence::Node, 1.9), ipvs_forwarded: beside(Whence::Vm, 2.1), ..results() }
                .page();
        for piece in [
            "| lbctl packet / ipvsadm, emulated: download, GiB/s | >= 1.00 | 0.950 (0.950-0.950) | **not met** |",
            "| lbctl packet / ipvsadm, from a VM, emulated: download, GiB/s | >= 1.00 | 1.050 (1.050-1.050) | met |",
            "\n## IPVS\n",
            "\n## IPVS, from a virtual machine\n",
        ] {
            assert!(page.contains(piece), "{piece:?} is not in:\n{page}");
        }
    }

    #[test]
    fn a_quick_run_is_called_a_smoke_test() {
        let page = Results { quick: [Part::Steady].into(), ..results() }.page();
        assert!(
            page.contains("**Smoke test: measured so briefly that the figures mean little: steady.**"),
            "{page}"
        );
    }

    #[test]
    fn what_is_saved_is_rendered_alike_when_it_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        results().save(dir.path()).unwrap();
        let read = |file: &str| std::fs::read_to_string(dir.path().join(file)).unwrap();
        let (page, svg) = (read("README.md"), read("throughput.svg"));
        assert!(svg.starts_with("<svg") && svg.contains("lbctl socket") && svg.contains("2.97"), "{svg}");
        Results::load(dir.path()).unwrap().save(dir.path()).unwrap();
        assert_eq!((read("README.md"), read("throughput.svg")), (page, svg));
    }
}

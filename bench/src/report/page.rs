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
        let failover = self.failover.as_ref().map(Failover::bars);
        let probes = self.probes.as_ref().map(Probes::bars);
        [steady, failover, probes].into_iter().flatten().flatten().collect()
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
            self.resources.as_ref().map(crate::resources::Resources::render),
            self.failover.as_ref().map(Failover::render),
            self.probes.as_ref().map(Probes::render),
            self.ipvs.as_ref().map(render_ipvs),
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
        let rounds = steady.runs.iter().map(|run| run.rounds.len()).max().unwrap_or(0);
        let plots: String =
            steady.plots().iter().map(|plot| format!("![{}]({})\n\n", plot.title, plot.file)).collect();
        format!(
            "## While nothing fails\n\n{rounds} rounds. In each, every contender has two slices of {} s, in the order A \
             B C C B A. A figure is the median over the rounds; \"to direct\" is the median of its ratio to \
             *direct* in the same round, with the least and the greatest. *direct* is the client picking one of the masters at \
             random. Only the clients of *lbctl socket* run in the cgroup with lbctl's hooks.\n\nProcessor time is the sum over \
             client, masters, the contender's processes and the kernel's softirq threads. connect() to a proxy ends \
             at the proxy: what lies behind it shows in the TLS handshake.\n\n{plots}{}",
            number(steady.slice_seconds),
            steady.render()
        )
    }
}

fn describe(machine: &Machine) -> String {
    let Machine { cpu, cores, memory, kernel, day } = machine;
    format!("- Machine: {cpu}, {cores} cores, {} GiB, Linux {kernel}; {day}\n", number(*memory))
}

fn render_ipvs(steady: &Steady) -> String {
    format!(
        "## IPVS\n\nIn a virtual machine with Linux {} whose processor is emulated: everything takes 10 to 20 times as long, \
         so only the ratios say something, and they only roughly.\n\n{}",
        steady.kernel,
        steady.render()
    )
}

fn configurations() -> String {
    let mut text = String::from(
        "## Configurations\n\nThe masters' addresses stand where `@SERVERS@` and other names in `@` are. lbctl has its \
         defaults. Where the masters speak no TLS, the checks do not either.\n",
    );
    for contender in Contender::ALL {
        if let Some(configuration) = contender.configuration() {
            text.push_str(&format!("\n### {}\n\n{}", contender.name(), markdown::block(configuration)));
        }
    }
    text
}

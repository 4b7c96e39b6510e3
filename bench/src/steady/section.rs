//! The report's section, its plots and its bars.

use super::{Figure, Steady, Whence};
use crate::client::Workload;
use crate::contender::Contender;
use crate::report::{Bar, Limit, Plot, PlotRow, markdown, number};
use crate::statistics::Spread;

/// A contender, the one that it is compared with, and what the ratio must be.
type Ratio = (Contender, Contender, Workload, Figure, Limit);

/// What lbctl is held to where it forwards for a virtual machine: beside rules that do the same as it does.
const BARS_FORWARDED: [Ratio; 8] = [
    (Contender::Packet, Contender::Direct, Workload::KeepAlive, Figure::PerSecond, Limit::AtLeast(0.95)),
    (Contender::Packet, Contender::Direct, Workload::Bulk, Figure::GibPerSecond, Limit::AtLeast(0.95)),
    (
        Contender::PacketUnmasked,
        Contender::Direct,
        Workload::KeepAlive,
        Figure::PerSecond,
        Limit::AtLeast(0.95),
    ),
    (
        Contender::PacketUnmasked,
        Contender::Direct,
        Workload::Bulk,
        Figure::GibPerSecond,
        Limit::AtLeast(0.95),
    ),
    (
        Contender::Packet,
        Contender::NftablesMasquerade,
        Workload::KeepAlive,
        Figure::PerSecond,
        Limit::AtLeast(1.0),
    ),
    (
        Contender::Packet,
        Contender::NftablesMasquerade,
        Workload::Bulk,
        Figure::GibPerSecond,
        Limit::AtLeast(1.0),
    ),
    (
        Contender::PacketUnmasked,
        Contender::Nftables,
        Workload::KeepAlive,
        Figure::PerSecond,
        Limit::AtLeast(1.0),
    ),
    (
        Contender::PacketUnmasked,
        Contender::Nftables,
        Workload::Bulk,
        Figure::GibPerSecond,
        Limit::AtLeast(1.0),
    ),
];
/// What lbctl is held to beside IPVS.
const BARS_IPVS: [Ratio; 2] = [
    (Contender::Packet, Contender::IpvsByHand, Workload::KeepAlive, Figure::PerSecond, Limit::AtLeast(1.0)),
    (Contender::Packet, Contender::IpvsByHand, Workload::Bulk, Figure::GibPerSecond, Limit::AtLeast(1.0)),
];
/// What lbctl is held to on the node itself.
const BARS: [Ratio; 9] = [
    (Contender::Socket, Contender::Direct, Workload::KeepAlive, Figure::PerSecond, Limit::AtLeast(0.98)),
    (Contender::Socket, Contender::Direct, Workload::Bulk, Figure::GibPerSecond, Limit::AtLeast(0.98)),
    (Contender::Socket, Contender::Direct, Workload::Connect, Figure::P50Micros, Limit::AtMost(1.10)),
    (Contender::Socket, Contender::Direct, Workload::Bulk, Figure::CpuSecondsPerGib, Limit::AtMost(1.02)),
    (Contender::Socket, Contender::SocketAlone, Workload::Connect, Figure::P50Micros, Limit::AtMost(1.02)),
    (Contender::Packet, Contender::Direct, Workload::KeepAlive, Figure::PerSecond, Limit::AtLeast(0.95)),
    (Contender::Packet, Contender::Direct, Workload::Bulk, Figure::GibPerSecond, Limit::AtLeast(0.95)),
    (Contender::Packet, Contender::Nftables, Workload::KeepAlive, Figure::PerSecond, Limit::AtLeast(1.0)),
    (Contender::Packet, Contender::Nftables, Workload::Bulk, Figure::GibPerSecond, Limit::AtLeast(1.0)),
];
/// What is worth a picture.
const PLOTS: [(&str, Workload, Figure); 5] = [
    ("connect.svg", Workload::Connect, Figure::P50Micros),
    ("tls.svg", Workload::Tls, Figure::P50Micros),
    ("keep-alive.svg", Workload::KeepAlive, Figure::PerSecond),
    ("throughput.svg", Workload::Bulk, Figure::GibPerSecond),
    ("cpu.svg", Workload::Bulk, Figure::CpuSecondsPerGib),
];

impl Figure {
    /// Its name with its unit.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::P50Micros => "p50, µs",
            Self::P99Micros => "p99, µs",
            Self::PerSecond => "per second",
            Self::GibPerSecond => "GiB/s",
            Self::CpuMicros => "CPU each, µs",
            Self::CpuSecondsPerGib => "CPU s/GiB",
        }
    }
}

impl Steady {
    /// The report's section, Markdown; without the heading.
    #[must_use]
    pub fn render(&self) -> String {
        let measured = Workload::ALL.into_iter().filter(|workload| !self.contenders(*workload).is_empty());
        let mut text: String = measured.map(|workload| self.render_workload(workload)).collect();
        for left_out in &self.unmeasured {
            let (workload, contender) = (left_out.workload.name(), left_out.contender.name());
            text.push_str(&format!("Not measured: {contender}, {workload}: {}\n\n", left_out.why));
        }
        text
    }

    fn render_workload(&self, workload: Workload) -> String {
        let figures = workload.figures();
        let mut head = vec![String::new()];
        for figure in figures {
            head.extend([figure.name().to_owned(), "to direct".to_owned()]);
        }
        let row = |contender: Contender| {
            let mut cells = vec![contender.name().to_owned()];
            for figure in figures {
                let value = self.spread(workload, contender, *figure);
                cells.push(value.map_or_else(|| "-".to_owned(), |spread| number(spread.median)));
                cells.push(self.ratio(workload, contender, *figure).map_or_else(|| "-".to_owned(), ratio));
            }
            cells
        };
        let noise = figures.iter().flat_map(|figure| {
            let noise = self.noise(workload, *figure);
            [String::new(), noise.map_or_else(|| "-".to_owned(), ratio)]
        });
        let noise: Vec<String> = ["*noise*".to_owned()].into_iter().chain(noise).collect();
        let rows: Vec<_> = self.contenders(workload).into_iter().map(row).chain([noise]).collect();
        format!("### {}\n\n{}\n", workload.name(), markdown::table(&head, &rows))
    }

    /// The pictures, each with its file name.
    #[must_use]
    pub fn plots(&self) -> Vec<Plot> {
        let plots = PLOTS.into_iter().map(|(file, workload, figure)| {
            let row = |contender: Contender| {
                let spread = self.spread(workload, contender, figure)?;
                Some(PlotRow { label: contender.name().to_owned(), spread, ours: contender.is_lbctl() })
            };
            let rows = self.contenders(workload).into_iter().filter_map(row).collect();
            let title = format!("{}: {}", workload.name(), figure.name());
            Plot { file: file.to_owned(), title, rows }
        });
        plots.filter(|plot| !plot.rows.is_empty()).collect()
    }

    /// What lbctl is held to.
    #[must_use]
    pub fn bars(&self) -> Vec<Bar> {
        match self.whence {
            Whence::Node => self.held_to(&BARS, ""),
            Whence::Vm => self.held_to(&BARS_FORWARDED, ", from a VM"),
            Whence::Wire | Whence::Outside => Vec::new(),
        }
    }

    /// What lbctl is held to where there is IPVS.
    #[must_use]
    pub fn bars_beside_ipvs(&self) -> Vec<Bar> {
        match self.whence {
            Whence::Node => self.held_to(&BARS_IPVS, ", emulated"),
            Whence::Vm => self.held_to(&BARS_IPVS, ", from a VM, emulated"),
            Whence::Wire | Whence::Outside => Vec::new(),
        }
    }

    fn held_to(&self, bars: &[Ratio], whence: &str) -> Vec<Bar> {
        let bar = |(contender, reference, workload, figure, limit): Ratio| {
            let spread = self.ratio_to(workload, contender, reference, figure);
            let (names, what) = ([contender.name(), reference.name()].join(" / "), workload.name());
            Bar {
                what: format!("{names}{whence}: {what}, {}", figure.name()),
                limit,
                figure: spread.map(|spread| spread.median),
                remark: spread.map_or_else(String::new, ratio),
                unit: "",
            }
        };
        bars.iter().copied().map(bar).collect()
    }
}

fn ratio(spread: Spread) -> String {
    format!("{:.3} ({:.3}-{:.3})", spread.median, spread.min, spread.max)
}

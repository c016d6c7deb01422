//! The sweep: loss × burst × round trip × parity × block shape, each a session of its own, with
//! repeats; as a table and as curves.

use std::fmt::Write as _;
use std::num::NonZeroU8;
use std::time::Duration;

use net::packetize::Protection;
use net::units::SliceCount;

use super::encoder::{Content, Synthetic};
use super::host::Parity;
use super::packet::Cause;
use super::scenario::Scenario;
use super::session::{Sessions, Setup, on_all_cores};

/// What a picture may take beyond the one-way delay.
const IN_TIME: Duration = Duration::from_millis(50);
const WARM_UP: Duration = Duration::from_secs(1);

/// What is swept.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Loss, percent.
    pub losses: Vec<u64>,
    /// Datagrams lost in a row; 1 is loss at random.
    pub bursts: Vec<u64>,
    /// Round trips, ms.
    pub round_trips_ms: Vec<u64>,
    /// Parity, percent of a group.
    pub parities: Vec<u8>,
    /// Slices that share a group; those of a frame are 8.
    pub shapes: Vec<u8>,
    /// Virtual time of each run.
    pub duration: Duration,
    /// Seed of all.
    pub seed: u64,
}

/// A point of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Loss, percent.
    pub loss: u64,
    /// Datagrams lost in a row.
    pub burst: u64,
    /// Round trip, ms.
    pub round_trip_ms: u64,
    /// Parity, percent of a group.
    pub parity: u8,
    /// Slices that share a group.
    pub shape: u8,
    /// Share of lost datagrams that parity gave back.
    pub recovered: f64,
    /// Share of pictures not on the screen in time.
    pub residual: f64,
    /// Parity and repeats over data, bytes.
    pub overhead: f64,
    /// Last byte, beyond the least of all frames, median, ms.
    pub added_p50_ms: f64,
    /// The same, 99 in 100.
    pub added_p99_ms: f64,
}

impl Sweep {
    /// A few dozen points.
    #[must_use]
    pub fn quick(seed: u64) -> Self {
        Self {
            losses: vec![2, 5],
            bursts: vec![1, 8],
            round_trips_ms: vec![4, 80],
            parities: vec![10, 25],
            shapes: vec![1, 4, 8],
            duration: Duration::from_secs(5),
            seed,
        }
    }

    /// All of it.
    #[must_use]
    pub fn full(seed: u64) -> Self {
        Self {
            losses: vec![1, 2, 5],
            bursts: vec![1, 4, 8],
            round_trips_ms: vec![4, 20, 80],
            parities: vec![0, 5, 10, 20, 30],
            shapes: vec![1, 2, 4, 8],
            duration: Duration::from_secs(30),
            seed,
        }
    }

    /// Runs it, on all cores.
    #[must_use]
    pub fn run(&self) -> Vec<Point> {
        let mut points = Vec::new();
        for &loss in &self.losses {
            for &burst in &self.bursts {
                for &round_trip_ms in &self.round_trips_ms {
                    for &parity in &self.parities {
                        // Without parity there are no shapes.
                        let shapes = if parity == 0 { &[8][..] } else { &self.shapes };
                        let of = |&shape| (loss, burst, round_trip_ms, parity, shape);
                        points.extend(shapes.iter().map(of));
                    }
                }
            }
        }
        on_all_cores(points.len(), |index| {
            let (loss, burst, round_trip_ms, parity, shape) = points[index];
            self.point(loss, burst, round_trip_ms, parity, shape)
        })
    }

    fn point(&self, loss: u64, burst: u64, round_trip_ms: u64, parity: u8, shape: u8) -> Point {
        let round_trip = Duration::from_millis(round_trip_ms);
        let scenario = if burst == 1 {
            Scenario::random_loss(loss, round_trip)
        } else {
            Scenario::bursts(loss, burst, round_trip)
        };
        let scenario = scenario.seeded(self.seed).lasting(self.duration);
        let slices_per_group = match shape {
            8 => Protection::WHOLE_FRAME,
            shape => NonZeroU8::new(shape).unwrap_or(NonZeroU8::MIN),
        };
        let setup = Setup {
            content: Content::Synthetic(Synthetic {
                slices: SliceCount::new(8).unwrap_or(SliceCount::ONE),
                ..Synthetic::GAME
            }),
            parity: Parity::Fixed(Protection {
                percent: parity,
                shards_base: 0,
                shards_min: 1,
                slices_per_group,
            }),
            ..Setup::default()
        };
        let sessions = Sessions::run(&scenario, &setup);
        let limit = IN_TIME + round_trip / 2;
        let report = sessions.report(0, WARM_UP..self.duration, limit);
        let tap = &sessions.laid.network.link(sessions.laid.down).tap;
        let lost = tap.losses(Cause::Random, None) + tap.losses(Cause::Burst, None);
        let repaired = sessions.client(0).reassembler().repaired_shards;
        let added = |permille| report.added_ns.permille(permille) as f64 / 1e6;
        Point {
            loss,
            burst,
            round_trip_ms,
            parity,
            shape,
            recovered: repaired as f64 / lost.max(1) as f64,
            residual: report.share_missed(),
            overhead: report.overhead,
            added_p50_ms: added(500),
            added_p99_ms: added(990),
        }
    }
}

impl Point {
    /// Head of the table.
    pub const HEAD: &'static str = "loss burst   rtt parity slices | recovered residual overhead \
                                    | added last byte p50    p99";

    /// A line of the table.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{:>3}% {:>5} {:>3}ms {:>5}% {:>6} | {:>8.1}% {:>7.3}% {:>7.1}% | {:>17.2}ms {:>5.1}ms",
            self.loss,
            self.burst,
            self.round_trip_ms,
            self.parity,
            self.shape,
            self.recovered * 100.0,
            self.residual * 100.0,
            self.overhead * 100.0,
            self.added_p50_ms,
            self.added_p99_ms,
        )
    }
}

const PANEL_WIDTH: f64 = 320.0;
const PANEL_HEIGHT: f64 = 220.0;
const MARGIN: f64 = 46.0;
/// The axis of overhead ends here.
const OVERHEAD_MAX: f64 = 0.8;
/// The axis of residual, of logarithms to the base ten: 0.01 % to 100 %.
const DECADES: f64 = 4.0;
const COLOURS: [(u8, &str); 4] = [
    (1, "#c0392b"),
    (2, "#e67e22"),
    (4, "#2980b9"),
    (8, "#27ae60"),
];

/// Residual over overhead: a panel for each loss, burst and round trip, a curve for each shape.
#[must_use]
pub fn svg(points: &[Point]) -> String {
    let mut panels: Vec<(u64, u64, u64)> = Vec::new();
    for point in points {
        let panel = (point.loss, point.burst, point.round_trip_ms);
        if !panels.contains(&panel) {
            panels.push(panel);
        }
    }
    let columns = 3;
    let rows = panels.len().div_ceil(columns);
    let (width, height) = (
        columns as f64 * PANEL_WIDTH,
        rows as f64 * PANEL_HEIGHT + 20.0,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"10\">\n<rect width=\"100%\" height=\"100%\" \
         fill=\"white\"/>\n"
    );
    for (shape, colour) in COLOURS {
        let x = MARGIN + f64::from(shape) * 70.0;
        let name = if shape == 8 {
            "the frame".to_owned()
        } else {
            format!("{shape} slices")
        };
        put(
            &mut svg,
            format_args!("<text x=\"{x}\" y=\"12\" fill=\"{colour}\">{name}</text>"),
        );
    }
    for (index, panel) in panels.iter().enumerate() {
        let x = (index % columns) as f64 * PANEL_WIDTH;
        let y = (index / columns) as f64 * PANEL_HEIGHT + 20.0;
        let of_panel = points
            .iter()
            .filter(|it| (it.loss, it.burst, it.round_trip_ms) == *panel);
        draw(
            &mut svg,
            x,
            y,
            *panel,
            &of_panel.copied().collect::<Vec<_>>(),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, x: f64, y: f64, panel: (u64, u64, u64), points: &[Point]) {
    let (left, top) = (x + MARGIN, y + 20.0);
    let (width, height) = (PANEL_WIDTH - MARGIN - 14.0, PANEL_HEIGHT - 58.0);
    let (loss, burst, round_trip) = panel;
    put(
        svg,
        format_args!(
            "<text x=\"{left}\" y=\"{}\">loss {loss} %, bursts of {burst}, {round_trip} ms</text>",
            top - 6.0
        ),
    );
    put(
        svg,
        format_args!(
            "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"none\" \
             stroke=\"#888\"/>"
        ),
    );
    for (decade, label) in ["100 %", "10 %", "1 %", "0.1 %", "≤ 0.01 %"]
        .iter()
        .enumerate()
    {
        let at = top + height * decade as f64 / DECADES;
        put(
            svg,
            format_args!("<text x=\"{x}\" y=\"{}\">{label}</text>", at + 3.0),
        );
    }
    for percent in [0, 20, 40, 60, 80] {
        let at = left + width * f64::from(percent) / 100.0 / OVERHEAD_MAX;
        let y = top + height + 12.0;
        put(
            svg,
            format_args!("<text x=\"{}\" y=\"{y}\">{percent} %</text>", at - 8.0),
        );
    }
    for (shape, colour) in COLOURS {
        let mut path = String::new();
        // Without parity all shapes are the same.
        for point in points
            .iter()
            .filter(|it| it.shape == shape || it.parity == 0)
        {
            let decade = -point.residual.max(1e-4).log10();
            let at_x = left + width * (point.overhead / OVERHEAD_MAX).min(1.0);
            let at_y = top + height * decade / DECADES;
            let _ = write!(path, "{at_x:.1},{at_y:.1} ");
            put(
                svg,
                format_args!(
                    "<circle cx=\"{at_x:.1}\" cy=\"{at_y:.1}\" r=\"2\" fill=\"{colour}\"/>"
                ),
            );
        }
        put(
            svg,
            format_args!("<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\"/>"),
        );
    }
}

fn put(svg: &mut String, line: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = svg.write_fmt(line);
    svg.push('\n');
}

//! The plots of the report page as inline SVG. Colours are classes `c0` to `c7` of the page's
//! style sheet, so that they follow the reader's light or dark scheme.

use super::html::escape;
use super::path::{PathReport, PathSample, sent_bps};
use super::record::FrameRow;

/// Frames in the plot of stage bars.
const BARS_MAX: usize = 200;
/// Points of a line in the plot of distributions.
const POINTS: usize = 160;
const WIDTH: f64 = 1080.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;

/// A colour class and what it stands for in a plot.
type Key = (&'static str, &'static str);

const BAR_KEYS: [Key; 7] = [
    ("c0", "compositor and capture"),
    ("c1", "wait for the encoder"),
    ("c2", "colour conversion"),
    ("c3", "encode"),
    ("c4", "protect and send, after the last slice"),
    ("c5", "wire and reassembly"),
    ("c6", "decode"),
];

/// Stacked bars: where each of the last frames spent its time.
pub fn stage_bars(rows: &[FrameRow]) -> String {
    let rows = &rows[rows.len().saturating_sub(BARS_MAX)..];
    let stacks: Vec<Vec<Segment>> = rows.iter().map(stack).collect();
    let tops = stacks
        .iter()
        .filter_map(|stack| stack.last().map(|segment| segment.to_us));
    let Some(highest_us) = tops.max().filter(|top| *top > 0) else {
        return nothing("no frame has stamps to show");
    };
    let axes = Axes::new(300.0, rows.len() as f64, f64::from(highest_us) / 1000.0);
    let mut svg = axes.open("Stages of the last frames, stacked, in milliseconds");
    svg += &axes.rules_y(|ms| format!("{ms} ms"));
    for (index, (row, stack)) in rows.iter().zip(&stacks).enumerate() {
        let (left, right) = (axes.x(index as f64), axes.x(index as f64 + 1.0));
        let width = ((right - left) * 0.86).min(24.0);
        svg += &format!("<g><title>frame {}{}</title>", row.frame, describe(stack));
        for segment in stack
            .iter()
            .filter(|segment| segment.to_us > segment.from_us)
        {
            let (top, bottom) = (axes.y_us(segment.to_us), axes.y_us(segment.from_us));
            svg += &rect(BAR_KEYS[segment.key].0, (left, top), (width, bottom - top));
        }
        svg += "</g>";
    }
    svg += &axes.label_x(&format!("the last {} frames, oldest first", rows.len()));
    close(svg) + &legend(&BAR_KEYS)
}

/// A piece of a stacked bar.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Segment {
    /// Its place in [`BAR_KEYS`].
    key: usize,
    from_us: i32,
    to_us: i32,
}

/// Segments of a frame's bar, from its drawing (or capture) on.
fn stack(row: &FrameRow) -> Vec<Segment> {
    let stamps = [
        Some(0),
        row.encode_begin_us,
        row.converted_us,
        row.encoded_last_us(),
        row.last_byte_us(),
        row.complete_us,
        row.decoded_us,
    ];
    let start = row.drawn_us.unwrap_or(0).min(0);
    let mut at = 0;
    let mut segments = Vec::with_capacity(stamps.len());
    for (key, stamp) in stamps.into_iter().enumerate() {
        // A client may have the last datagram before the host notes that it is sent: no segment
        // is ever negative.
        let Some(to_us) = stamp.map(|us| us.saturating_sub(start).max(at)) else {
            continue;
        };
        segments.push(Segment {
            key,
            from_us: at,
            to_us,
        });
        at = to_us;
    }
    segments
}

fn describe(stack: &[Segment]) -> String {
    let part = |segment: &Segment| {
        let ms = f64::from(segment.to_us - segment.from_us) / 1000.0;
        format!("\n{}: {ms:.2} ms", BAR_KEYS[segment.key].1)
    };
    stack.iter().map(part).collect()
}

/// A quantity of a frame, µs.
type Quantity = fn(&FrameRow) -> Option<i32>;

/// Cumulative distributions of the main spans.
pub fn cumulative(rows: &[FrameRow]) -> String {
    let quantities: [(Key, Quantity); 5] = [
        (("c4", "captured to first byte"), FrameRow::first_byte_us),
        (("c3", "captured to last byte"), FrameRow::last_byte_us),
        (("c5", "captured to complete"), |row| row.complete_us),
        (("c6", "captured to decoded"), |row| row.decoded_us),
        (("c7", "glass to decoded"), |row| {
            Some(row.decoded_us? - row.drawn_us?)
        }),
    ];
    let lines: Vec<(Key, Vec<i32>)> = quantities
        .into_iter()
        .map(|(key, quantity)| {
            let mut values: Vec<i32> = rows.iter().filter_map(quantity).collect();
            values.sort_unstable();
            (key, values)
        })
        .filter(|(_, values)| !values.is_empty())
        .collect();
    // A single late frame must not squeeze all others to the left: the axis ends at 99.5 %.
    let ends = lines
        .iter()
        .map(|(_, values)| values[(values.len() - 1) * 995 / 1000]);
    let Some(end_us) = ends.max().filter(|end| *end > 0) else {
        return nothing("no frame has stamps to show");
    };
    let axes = Axes::new(320.0, f64::from(end_us) * 1.04 / 1000.0, 100.0);
    let mut svg = axes.open("Cumulative distribution of latencies");
    svg += &axes.rules_y(|percent| format!("{percent} %"));
    svg += &axes.rules_x();
    for (key, values) in &lines {
        svg += &format!("<polyline class=\"line {}\" points=\"", key.0);
        for point in 0..=POINTS {
            let rank = (values.len() - 1) * point / POINTS;
            let x = axes.x(f64::from(values[rank]) / 1000.0).min(WIDTH - RIGHT);
            let y = axes.y((rank + 1) as f64 / values.len() as f64 * 100.0);
            svg += &format!("{x:.1},{y:.1} ");
        }
        svg += &format!("\"><title>{}</title></polyline>", key.1);
    }
    svg += &axes.label_x("milliseconds");
    let keys: Vec<Key> = lines.iter().map(|(key, _)| *key).collect();
    close(svg) + &legend(&keys)
}

const SLICE_KEYS: [Key; 6] = [
    ("c2", "colour conversion"),
    ("c3", "encode"),
    ("c7", "FEC and seal"),
    ("c4", "send"),
    ("c5", "wire and reassembly"),
    ("c6", "decode"),
];

/// What happened to each slice of one typical frame: the one whose time from capture to complete
/// is the median.
pub fn slice_timeline(rows: &[FrameRow]) -> String {
    let span = |row: &FrameRow| row.complete_us.or_else(|| row.last_byte_us());
    let mut candidates: Vec<&FrameRow> = rows
        .iter()
        .filter(|row| span(row).is_some() && !row.slices.is_empty())
        .collect();
    candidates.sort_by_key(|row| span(row));
    let Some(row) = candidates.get(candidates.len() / 2) else {
        return nothing("no frame was sent whole");
    };
    let bars = timeline_bars(row);
    let end_us = bars
        .iter()
        .map(|(_, _, _, to)| *to)
        .max()
        .unwrap_or(0)
        .max(1);
    let lanes = row.slices.len() + 2;
    let height = TOP + BOTTOM + lanes as f64 * 22.0;
    let axes = Axes::new(height, f64::from(end_us) * 1.02 / 1000.0, lanes as f64);
    let mut svg = axes.open("Timeline of the slices of a typical frame");
    svg += &axes.rules_x();
    let lane_top = |lane: usize| TOP + lane as f64 * 22.0;
    let (first, last) = ("frame".to_owned(), "decode".to_owned());
    let slices = (0..row.slices.len()).map(|index| format!("slice {index}"));
    for (lane, name) in std::iter::once(first)
        .chain(slices)
        .chain([last])
        .enumerate()
    {
        svg += &format!(
            "<text x=\"0\" y=\"{:.1}\">{name}</text>",
            lane_top(lane) + 14.0
        );
    }
    for (key, lane, from, to) in bars {
        let (left, right) = (
            axes.x(f64::from(from) / 1000.0),
            axes.x(f64::from(to) / 1000.0),
        );
        let (class, name) = SLICE_KEYS[key];
        svg += &format!(
            "<g><title>{name}: {:.3} ms</title>",
            f64::from(to - from) / 1000.0
        );
        svg += &rect(
            class,
            (left, lane_top(lane) + 2.0),
            ((right - left).max(1.0), 17.0),
        );
        svg += "</g>";
    }
    svg += &axes.label_x(&format!(
        "milliseconds after the capture of frame {}",
        row.frame
    ));
    close(svg) + &legend(&SLICE_KEYS)
}

/// Key, lane, from and to (µs) of every bar of a frame's timeline.
fn timeline_bars(row: &FrameRow) -> Vec<(usize, usize, i32, i32)> {
    let mut bars = Vec::new();
    let mut bar = |key, lane, from: Option<i32>, to: Option<i32>| {
        if let (Some(from), Some(to)) = (from, to) {
            bars.push((key, lane, from, to.max(from)));
        }
    };
    bar(0, 0, row.encode_begin_us, row.converted_us);
    let mut before = row.converted_us;
    for (index, slice) in row.slices.iter().enumerate() {
        let lane = index + 1;
        bar(1, lane, before, slice.encoded_us);
        bar(2, lane, slice.encoded_us, slice.protected_us);
        bar(3, lane, slice.first_byte_us, slice.last_byte_us);
        bar(4, lane, slice.last_byte_us, slice.complete_us);
        before = slice.encoded_us.or(before);
    }
    bar(5, row.slices.len() + 1, row.complete_us, row.decoded_us);
    bars
}

/// A line of a plot over time: seconds since the first sample, value.
type Series = (Key, Vec<(f64, f64)>);

/// Rates over time.
pub fn path_rates(path: &PathReport) -> String {
    let rate = |key: Key, of: fn(&PathSample) -> Option<u64>| -> Series {
        let points = path.samples.iter().filter_map(|sample| {
            let rate = of(sample)?;
            Some((seconds(path, sample), rate as f64 * 1e-6))
        });
        (key, points.collect())
    };
    let sent = path.samples.windows(2).filter_map(|pair| {
        let sent = sent_bps(&pair[0], &pair[1])?;
        Some((seconds(path, &pair[1]), sent * 1e-6))
    });
    let series = [
        rate(("c4", "wire rate"), |sample| Some(sample.wire_bps)),
        rate(("c3", "encoder bitrate"), |sample| Some(sample.encoder_bps)),
        (("c0", "sent"), sent.collect()),
        rate(("c1", "bottleneck as believed"), |sample| {
            sample.bottleneck_bps
        }),
    ];
    // What the bottleneck would pass may be far above all that is asked for.
    let asked = &series[..3];
    let top = asked
        .iter()
        .flat_map(|(_, points)| points.iter().map(|point| point.1));
    let top = top.fold(0.0, f64::max) * 1.25;
    over_time(path, "Rates, Mbit/s", "Mbit/s", top, &series)
}

/// Queues over time.
pub fn path_queue(path: &PathReport) -> String {
    let queue = |key: Key, of: fn(&PathSample) -> Option<u64>| -> Series {
        let points = path.samples.iter().filter_map(|sample| {
            let us = of(sample)?;
            Some((seconds(path, sample), us as f64 / 1e3))
        });
        (key, points.collect())
    };
    let series = [
        queue(("c6", "queue delay as believed"), |sample| {
            Some(sample.queue_us)
        }),
        queue(("c0", "longest wait in the relay"), |sample| {
            sample.relay_queue_us
        }),
        queue(("c5", "round trip"), |sample| Some(sample.round_trip_us)),
    ];
    let points = series.iter().flat_map(|(_, points)| points);
    let top = points.map(|point| point.1).fold(1.0, f64::max);
    over_time(path, "Queue delay, ms", "ms", top, &series)
}

fn seconds(path: &PathReport, sample: &PathSample) -> f64 {
    let first_ms = path.samples.first().map_or(0, |first| first.at_ms);
    (sample.at_ms - first_ms) as f64 / 1e3
}

fn over_time(path: &PathReport, label: &str, unit: &str, top: f64, series: &[Series]) -> String {
    let Some(last) = path.samples.last().filter(|_| path.samples.len() > 1) else {
        return nothing("the path was not sampled");
    };
    let first_ms = path.samples.first().map_or(0, |first| first.at_ms);
    let axes = Axes::new(220.0, seconds(path, last), top);
    let mut svg = axes.open(label);
    svg += &axes.rules_y(|value| format!("{value} {unit}"));
    svg += &axes.rules_x();
    let shown = || series.iter().filter(|(_, points)| !points.is_empty());
    for ((class, name), points) in shown() {
        svg += &format!("<polyline class=\"line {class}\" points=\"");
        for (x, y) in points {
            // Above the top it runs along the edge.
            svg += &format!("{:.1},{:.1} ", axes.x(*x), axes.y(y.min(top)));
        }
        svg += &format!("\"><title>{name}</title></polyline>");
    }
    let begun = -(first_ms as f64) / 1e3;
    svg += &axes.label_x(&format!("seconds; measured from {begun:.1} s on"));
    let keys: Vec<Key> = shown().map(|(key, _)| *key).collect();
    close(svg) + &legend(&keys)
}

/// A rectangle to plot in, and the values at its right and upper ends.
struct Axes {
    height: f64,
    x_end: f64,
    y_end: f64,
}

impl Axes {
    fn new(height: f64, x_end: f64, y_end: f64) -> Self {
        Self {
            height,
            x_end: x_end.max(1e-3),
            y_end: y_end.max(1e-3),
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (value / self.x_end) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        self.height - BOTTOM - (value / self.y_end) * (self.height - TOP - BOTTOM)
    }

    fn y_us(&self, us: i32) -> f64 {
        self.y(f64::from(us) / 1000.0)
    }

    fn open(&self, label: &str) -> String {
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\">",
            self.height,
            escape(label)
        )
    }

    fn rules_y(&self, text: impl Fn(f64) -> String) -> String {
        let (right, mut svg) = (WIDTH - RIGHT, String::new());
        for value in ticks(self.y_end) {
            let y = self.y(value);
            svg += &format!("<path class=\"rule\" d=\"M{LEFT} {y:.1}H{right}\"/>");
            svg += &format!(
                "<text class=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                text(value)
            );
        }
        svg
    }

    fn rules_x(&self) -> String {
        let (bottom, mut svg) = (self.height - BOTTOM, String::new());
        for value in ticks(self.x_end) {
            let x = self.x(value);
            svg += &format!("<path class=\"rule\" d=\"M{x:.1} {TOP}V{bottom}\"/>");
            svg += &format!(
                "<text class=\"mid\" x=\"{x:.1}\" y=\"{:.1}\">{value}</text>",
                bottom + 15.0
            );
        }
        svg
    }

    fn label_x(&self, text: &str) -> String {
        format!(
            "<text class=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            self.height - 4.0,
            escape(text)
        )
    }
}

/// Round values from zero to `end`, six at most.
fn ticks(end: f64) -> Vec<f64> {
    let rough = end / 5.0;
    let decade = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * decade)
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    // Rounded to a thousandth of the step, so that 3 × 0.1 does not print as 0.30000000000000004.
    let round = |value: f64| {
        let places = (-(step.log10().floor())).max(0.0) + 1.0;
        let scale = 10_f64.powf(places);
        (value * scale).round() / scale
    };
    (0..=6)
        .map(|index| round(f64::from(index) * step))
        .filter(|value| *value <= end)
        .collect()
}

fn rect(class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) -> String {
    format!(
        "<rect class=\"{class}\" x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" \
         height=\"{height:.2}\"/>"
    )
}

fn close(svg: String) -> String {
    svg + "</svg>"
}

fn legend(keys: &[Key]) -> String {
    let items: String = keys
        .iter()
        .map(|(class, name)| format!("<li><i class=\"{class}\"></i>{}</li>", escape(name)))
        .collect();
    format!("<ul class=\"legend\">{items}</ul>")
}

fn nothing(reason: &str) -> String {
    format!(
        "<p class=\"nothing\">Nothing to plot: {}.</p>",
        escape(reason)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(100.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(0.9), [0.0, 0.2, 0.4, 0.6, 0.8]);
        assert_eq!(ticks(17.3), [0.0, 5.0, 10.0, 15.0]);
    }

    #[test]
    fn bars_never_run_backwards() {
        let row = FrameRow {
            drawn_us: Some(-900),
            encode_begin_us: Some(50),
            complete_us: Some(4000),
            decoded_us: Some(3000),
            ..FrameRow::default()
        };
        let stack = stack(&row);
        assert!(stack.iter().all(|segment| segment.to_us >= segment.from_us));
        assert_eq!(
            stack.last(),
            Some(&Segment {
                key: 6,
                from_us: 4900,
                to_us: 4900
            })
        );
    }
}

//! A grid as a picture: boxes with their agents, and an arrow for each target of each route.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::agent::Port;
use crate::config::{AgentId, Configuration};

/// One target of a route.
struct Arrow<'a> {
    from: &'a AgentId,
    to: &'a AgentId,
    label: String,
}

fn arrows(configuration: &Configuration) -> Vec<Arrow<'_>> {
    let mut arrows = Vec::new();
    for (from, entry) in &configuration.agents {
        for (name, targets) in &entry.routes {
            for (to, port) in &targets.0 {
                let label = match *port {
                    // Both ways, and what it is for says the name.
                    Port::LOG if to < from => continue,
                    Port::LOG => format!("<-{name}->"),
                    port => format!("{name}:{port}"),
                };
                arrows.push(Arrow { from, to, label });
            }
        }
    }
    arrows
}

/// The grid as a graph in the language of Graphviz.
pub(super) fn dot(configuration: &Configuration) -> String {
    // Rust's quotes and escapes are those of a quoted name there, but for what ids and addresses never hold.
    let mut text = String::from("digraph grid {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n");
    for (number, (on, agents)) in configuration.agents_by_box().into_iter().enumerate() {
        let _ = writeln!(text, "  subgraph cluster_{number} {{\n    label=\"{on}\";");
        for (id, entry) in agents {
            let _ = writeln!(text, "    \"{id}\" [label=\"{id}\\n{}\"];", entry.kind.escape_default());
        }
        text.push_str("  }\n");
    }
    for arrow in arrows(configuration) {
        let _ = writeln!(text, "  \"{}\" -> \"{}\" [label=\"{}\"];", arrow.from, arrow.to, arrow.label);
    }
    text.push_str("}\n");
    text
}

/// The grid as a drawing: boxes in a circle, so that no arrow between two has to pass a third.
pub(super) fn svg(configuration: &Configuration) -> String {
    let plan = Plan::of(configuration);
    let (width, height) = plan.size;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"sans-serif\" font-size=\"13\">\n{STYLE}<rect class=\"paper\" \
         width=\"{width:.0}\" height=\"{height:.0}\"/>\n"
    );
    for (_, frame) in &plan.boxes {
        let _ = writeln!(text, "{}", frame.rect("box"));
    }
    for frame in plan.agents.values() {
        let _ = writeln!(text, "{}", frame.rect("agent"));
    }
    let arrows = arrows(configuration);
    for arrow in &arrows {
        let path = plan.curve(arrow).path();
        let _ = writeln!(text, "<path class=\"route\" marker-end=\"url(#head)\" d=\"{path}\"/>");
    }
    // What can be read comes last, so that nothing hides it.
    for (title, frame) in &plan.boxes {
        let (x, y) = (frame.x + PAD, frame.y + 22.0);
        let _ = writeln!(text, "<text class=\"title\" x=\"{x:.0}\" y=\"{y:.0}\">{title}</text>");
    }
    for (id, frame) in &plan.agents {
        let (x, y) = (frame.x + 10.0, frame.y + 23.0);
        let kind = escaped(&configuration.agents[*id].kind);
        let _ = writeln!(
            text,
            "<text x=\"{x:.0}\" y=\"{y:.0}\">{id} <tspan class=\"kind\">{kind}</tspan></text>"
        );
    }
    let mut taken: Vec<Frame> = Vec::new();
    for arrow in &arrows {
        let (x, y) = free_place(plan.curve(arrow).label(), &arrow.label, &mut taken);
        let label = escaped(&arrow.label);
        let _ = writeln!(text, "<text class=\"name\" x=\"{x:.0}\" y=\"{y:.0}\">{label}</text>");
    }
    text.push_str("</svg>\n");
    text
}

const STYLE: &str = "<style>\
.paper{fill:#fff}.box{fill:#eef3f8;stroke:#7a8ea3}.title{font-weight:bold;fill:#334}\
.agent{fill:#fff;stroke:#345}.kind{fill:#789}.route{fill:none;stroke:#2a6fb0;stroke-width:1.3}\
text{paint-order:stroke;stroke:#fff;stroke-width:4px}.name{font-size:11px;fill:#1d4f7d;text-anchor:middle}\
</style>\n<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
orient=\"auto\"><path d=\"M0,0 L8,4 L0,8 z\" fill=\"#2a6fb0\"/></marker></defs>\n";

// Lengths in pixels.
const AGENT_HEIGHT: f64 = 36.0;
const AGENT_STEP: f64 = 64.0;
const PAD: f64 = 16.0;
const TITLE: f64 = 36.0;
/// Between boxes, so that arrows have room.
const GAP: f64 = 110.0;
/// Around all of them, for arrows within a box.
const MARGIN: f64 = 90.0;
const LETTER: f64 = 8.0;
const NAME_LETTER: f64 = 6.0;
const NAME_HEIGHT: f64 = 14.0;
/// How far an arrow bends away from the one in the other direction.
const BEND: f64 = 24.0;

/// A rectangle.
#[derive(Clone, Copy)]
struct Frame {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Frame {
    fn rect(&self, class: &str) -> String {
        let Self { x, y, width, height } = self;
        let round = if class == "box" { 10 } else { 6 };
        format!(
            "<rect class=\"{class}\" x=\"{x:.0}\" y=\"{y:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"{round}\"/>"
        )
    }

    fn middle(&self) -> (f64, f64) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }

    /// Where the way from the middle to `point` leaves the rectangle.
    fn border_towards(&self, point: (f64, f64)) -> (f64, f64) {
        let (x, y) = self.middle();
        let (dx, dy) = (point.0 - x, point.1 - y);
        let part = |half: f64, way: f64| if way.abs() > half { half / way.abs() } else { 1.0 };
        let part = part(self.width / 2.0, dx).min(part(self.height / 2.0, dy));
        (x + dx * part, y + dy * part)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let apart = |at: f64, length: f64, other_at: f64, other_length: f64| {
            at + length <= other_at || other_at + other_length <= at
        };
        !apart(self.x, self.width, other.x, other.width) && !apart(self.y, self.height, other.y, other.height)
    }
}

/// Where everything stands.
struct Plan<'a> {
    size: (f64, f64),
    boxes: Vec<(String, Frame)>,
    agents: BTreeMap<&'a AgentId, Frame>,
}

impl<'a> Plan<'a> {
    fn of(configuration: &'a Configuration) -> Self {
        let boxes = configuration.agents_by_box();
        let letters =
            configuration.agents.iter().map(|(id, entry)| length(id.as_str()) + length(&entry.kind));
        let agent_width = letters.fold(120.0, |widest: f64, letters| widest.max(letters * LETTER + 30.0));
        let agent_width =
            boxes.keys().fold(agent_width, |widest, on| widest.max(length(&on.to_string()) * LETTER));
        let width = agent_width + 2.0 * PAD;
        let steps = |agents: usize| (0..agents).map(|_| AGENT_STEP).sum::<f64>();
        let height = |agents: usize| TITLE + (steps(agents) - AGENT_STEP + AGENT_HEIGHT + PAD).max(0.0);
        let tallest = boxes.values().fold(0.0, |tallest: f64, agents| tallest.max(height(agents.len())));
        let middles = circle(boxes.len(), width.hypot(tallest) + GAP);
        let (left, top) =
            middles.iter().fold((0.0, 0.0), |(x, y): (f64, f64), middle| (x.min(middle.0), y.min(middle.1)));
        let mut plan = Self { size: (0.0, 0.0), boxes: Vec::new(), agents: BTreeMap::new() };
        for ((on, agents), (x, y)) in boxes.into_iter().zip(middles) {
            let frame = Frame { x: x - left + MARGIN, y: y - top + PAD, width, height: height(agents.len()) };
            for ((id, _), number) in agents.into_iter().zip(0_u32..) {
                let y = frame.y + TITLE + f64::from(number) * AGENT_STEP;
                plan.agents
                    .insert(id, Frame { x: frame.x + PAD, y, width: agent_width, height: AGENT_HEIGHT });
            }
            plan.size =
                (plan.size.0.max(frame.x + width + MARGIN), plan.size.1.max(frame.y + frame.height + PAD));
            plan.boxes.push((on.to_string(), frame));
        }
        plan
    }

    /// An arrow: within a box around its agents' right side, else straight but for a bend.
    fn curve(&self, arrow: &Arrow<'_>) -> Curve {
        let (from, to) = (self.agents[arrow.from], self.agents[arrow.to]);
        if self.is_same_box(&from, &to) {
            let right = from.x + from.width;
            // What leaves and what arrives keep apart.
            let (begin, end) = ((right, from.middle().1 - 6.0), (right, to.middle().1 + 6.0));
            let out = right + 45.0 + (begin.1 - end.1).abs() / 6.0;
            return Curve { begin, out: (out, begin.1), back: (out, end.1), end };
        }
        let (one, other) = (from.middle(), to.middle());
        let (dx, dy) = (other.0 - one.0, other.1 - one.1);
        let way = dx.hypot(dy).max(1.0);
        let (aside_x, aside_y) = (-dy / way * BEND, dx / way * BEND);
        let out = (one.0 + dx / 3.0 + aside_x, one.1 + dy / 3.0 + aside_y);
        let back = (one.0 + dx * 2.0 / 3.0 + aside_x, one.1 + dy * 2.0 / 3.0 + aside_y);
        Curve { begin: from.border_towards(out), out, back, end: to.border_towards(back) }
    }

    fn is_same_box(&self, from: &Frame, to: &Frame) -> bool {
        self.boxes.iter().any(|(_, frame)| frame.overlaps(from) && frame.overlaps(to))
    }
}

/// The places of `count` things on a circle on which neighbours are `apart`; two stand side by side.
fn circle(count: usize, apart: f64) -> Vec<(f64, f64)> {
    let parts: f64 = (0..count).map(|_| 1.0).sum();
    let turn = std::f64::consts::TAU / parts;
    let radius = if count < 2 { 0.0 } else { apart / 2.0 / (turn / 2.0).sin() };
    let begin = if count == 2 { std::f64::consts::PI } else { -std::f64::consts::FRAC_PI_2 };
    (0_u32..)
        .take(count)
        .map(|number| {
            let (sin, cos) = (begin + f64::from(number) * turn).sin_cos();
            (radius * cos, radius * sin)
        })
        .collect()
}

/// A place for a name as near as can be to where it should be: below all names that stand there already.
fn free_place(wanted: (f64, f64), name: &str, taken: &mut Vec<Frame>) -> (f64, f64) {
    let width = length(name) * NAME_LETTER;
    let mut frame =
        Frame { x: wanted.0 - width / 2.0, y: wanted.1 - NAME_HEIGHT / 2.0, width, height: NAME_HEIGHT };
    while let Some(other) = taken.iter().find(|other| other.overlaps(&frame)) {
        frame.y = other.y + other.height;
    }
    taken.push(frame);
    (wanted.0, frame.y + NAME_HEIGHT - 3.0)
}

/// A cubic curve.
struct Curve {
    begin: (f64, f64),
    out: (f64, f64),
    back: (f64, f64),
    end: (f64, f64),
}

impl Curve {
    fn path(&self) -> String {
        let Self { begin, out, back, end } = self;
        format!(
            "M{:.0},{:.0} C{:.0},{:.0} {:.0},{:.0} {:.0},{:.0}",
            begin.0, begin.1, out.0, out.1, back.0, back.1, end.0, end.1
        )
    }

    /// The point after a third of the way, where the arrow in the other direction does not have its name.
    fn label(&self) -> (f64, f64) {
        // The weights of a cubic curve at one third, in 27ths.
        let at =
            |begin: f64, out: f64, back: f64, end: f64| (8.0 * begin + 12.0 * out + 6.0 * back + end) / 27.0;
        let x = at(self.begin.0, self.out.0, self.back.0, self.end.0);
        (x, at(self.begin.1, self.out.1, self.back.1, self.end.1))
    }
}

fn length(text: &str) -> f64 {
    text.chars().map(|_| 1.0).sum()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Registry;
    use crate::config::{Format, read};

    fn grid() -> Configuration {
        let text = r#"{
            "a": {"type": "dummy", "box": "127.0.0.1:1", "routes": {"all": {"b": 1, "c": 2}}},
            "b": {"type": "dummy", "box": "127.0.0.1:1"},
            "c": {"type": "dummy", "box": "127.0.0.1:2", "routes": {"back": {"a": 0}}}
        }"#;
        read(text, Format::Json, &Registry::builtin()).expect("right")
    }

    #[test]
    fn a_graph_has_boxes_agents_and_routes() {
        let dot = dot(&grid());
        assert!(
            dot.contains(
                "subgraph cluster_1 {\n    label=\"127.0.0.1:2\";\n    \"c\" [label=\"c\\ndummy\"];"
            ),
            "{dot}"
        );
        assert!(
            dot.contains("  \"a\" -> \"b\" [label=\"all:1\"];\n  \"a\" -> \"c\" [label=\"all:2\"];"),
            "{dot}"
        );
    }

    #[test]
    fn a_drawing_has_them_too_and_nothing_lies_outside() {
        let grid = grid();
        let svg = svg(&grid);
        assert_eq!(svg.matches("class=\"box\"").count(), 2);
        assert_eq!(svg.matches("class=\"agent\"").count(), 3);
        assert_eq!(svg.matches("class=\"route\"").count(), 3);
        let plan = Plan::of(&grid);
        for agent in plan.agents.values() {
            assert!(agent.x > 0.0 && agent.y > 0.0);
            assert!(agent.x + agent.width < plan.size.0 && agent.y + agent.height < plan.size.1);
        }
        assert!(!plan.boxes[0].1.overlaps(&plan.boxes[1].1));
    }

    #[test]
    fn two_members_of_a_log_are_joined_once() {
        let text = r#"{
            "a": {"type": "ledger", "box": "127.0.0.1:1", "attrs": {"log": {"members": ["a", "b"]}}},
            "b": {"type": "ledger", "box": "127.0.0.1:2", "attrs": {"log": {"members": ["a", "b"]}}}
        }"#;
        let grid = read(text, Format::Json, &Registry::builtin()).expect("right");
        let dot = dot(&grid);
        assert_eq!(dot.matches(" -> ").count(), 1);
        assert!(dot.contains("\"a\" -> \"b\" [label=\"<-log->\"];"), "{dot}");
        assert!(svg(&grid).contains("&lt;-log-&gt;"));
    }

    #[test]
    fn names_do_not_cover_each_other() {
        let mut taken = Vec::new();
        let places: Vec<f64> = (0..3).map(|_| free_place((50.0, 50.0), "name:1", &mut taken).1).collect();
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= NAME_HEIGHT), "{places:?}");
    }

    #[test]
    fn nothing_at_all_can_be_drawn() {
        assert!(svg(&Configuration::default()).ends_with("</svg>\n"));
        assert!(dot(&Configuration::default()).ends_with("}\n"));
    }
}

//! A grid as a picture: boxes with their agents, and an arrow for each target of each route.

use std::collections::BTreeMap;
use std::fmt::Write as _;

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
                arrows.push(Arrow { from, to, label: format!("{name}:{port}") });
            }
        }
    }
    arrows
}

/// The grid as a graph in the language of Graphviz.
pub(super) fn dot(configuration: &Configuration) -> String {
    // Rust's quotes and escapes are those of a quoted name there, but for what ids and addresses never hold.
    let mut text = String::from("digraph grid {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n");
    for (number, on) in configuration.boxes().into_iter().enumerate() {
        let _ = writeln!(text, "  subgraph cluster_{number} {{\n    label=\"{on}\";");
        for (id, entry) in configuration.agents_on(on) {
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

/// The grid as a drawing, boxes in rows of about as many as there are rows.
pub(super) fn svg(configuration: &Configuration) -> String {
    let plan = Plan::of(configuration);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n{STYLE}<rect class=\"paper\" width=\"{0}\" height=\"{1}\"/>\n",
        plan.width, plan.height
    );
    for frame in &plan.boxes {
        let _ = writeln!(
            text,
            "<rect class=\"box\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"10\"/>\
             <text class=\"title\" x=\"{}\" y=\"{}\">{}</text>",
            frame.x,
            frame.y,
            plan.box_width,
            frame.height,
            frame.x + PAD,
            frame.y + 22,
            frame.title
        );
    }
    for (id, (x, y)) in &plan.agents {
        let _ = writeln!(
            text,
            "<rect class=\"agent\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{AGENT_HEIGHT}\" rx=\"6\"/>\
             <text x=\"{}\" y=\"{}\">{id} <tspan class=\"kind\">{}</tspan></text>",
            plan.agent_width,
            x + 10,
            y + 23,
            escaped(&configuration.agents[*id].kind)
        );
    }
    // Arrows last, so that nothing hides their names.
    let arrows = arrows(configuration);
    for arrow in &arrows {
        let _ = writeln!(
            text,
            "<path class=\"route\" marker-end=\"url(#head)\" d=\"{}\"/>",
            plan.curve(arrow).path()
        );
    }
    for arrow in &arrows {
        let (x, y) = plan.curve(arrow).label();
        let _ = writeln!(text, "<text class=\"name\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(&arrow.label));
    }
    text.push_str("</svg>\n");
    text
}

const STYLE: &str = "<style>\
.paper{fill:#fff}.box{fill:#eef3f8;stroke:#7a8ea3}.title{font-weight:bold;fill:#334}\
.agent{fill:#fff;stroke:#345}.kind{fill:#789}.route{fill:none;stroke:#2a6fb0;stroke-width:1.3}\
.name{font-size:11px;fill:#1d4f7d;text-anchor:middle;paint-order:stroke;stroke:#fff;stroke-width:4px}\
</style>\n<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
orient=\"auto\"><path d=\"M0,0 L8,4 L0,8 z\" fill=\"#2a6fb0\"/></marker></defs>\n";

const AGENT_HEIGHT: i64 = 36;
const AGENT_STEP: i64 = 64;
const PAD: i64 = 16;
const TITLE: i64 = 36;
/// Between boxes, and around all of them, so that arrows have room.
const GAP: i64 = 130;
const LETTER: i64 = 8;

struct Frame {
    x: i64,
    y: i64,
    height: i64,
    title: String,
}

/// Where everything stands.
struct Plan<'a> {
    width: i64,
    height: i64,
    box_width: i64,
    agent_width: i64,
    boxes: Vec<Frame>,
    agents: BTreeMap<&'a AgentId, (i64, i64)>,
}

impl<'a> Plan<'a> {
    fn of(configuration: &'a Configuration) -> Self {
        let boxes = configuration.boxes();
        let letters =
            configuration.agents.iter().map(|(id, entry)| length(id.as_str()) + length(&entry.kind));
        let agent_width = letters.max().unwrap_or(0) * LETTER + 30;
        let title_width = boxes.iter().map(|on| length(&on.to_string())).max().unwrap_or(0) * LETTER;
        let agent_width = agent_width.max(title_width).max(120);
        let box_width = agent_width + 2 * PAD;
        let root = boxes.len().isqrt();
        let columns = if root * root < boxes.len() { root + 1 } else { root.max(1) };
        let mut plan =
            Self { width: 0, height: 0, box_width, agent_width, boxes: Vec::new(), agents: BTreeMap::new() };
        let (mut y, mut row_height) = (PAD, 0);
        for (number, on) in boxes.into_iter().enumerate() {
            let column = number % columns;
            if column == 0 && number > 0 {
                y += row_height + GAP / 2;
                row_height = 0;
            }
            let x = PAD + i64::try_from(column).unwrap_or(0) * (box_width + GAP);
            let mut bottom = y + TITLE;
            for (id, _) in configuration.agents_on(on) {
                plan.agents.insert(id, (x + PAD, bottom));
                bottom += AGENT_STEP;
            }
            let height = (bottom - y - AGENT_STEP + AGENT_HEIGHT + PAD).max(TITLE);
            row_height = row_height.max(height);
            plan.boxes.push(Frame { x, y, height, title: on.to_string() });
            plan.width = plan.width.max(x + box_width + GAP);
            plan.height = plan.height.max(y + height + PAD);
        }
        plan
    }

    /// An arrow: between columns from side to side, within a column around its right side.
    fn curve(&self, arrow: &Arrow<'_>) -> Curve {
        let (from, to) = (self.agents[arrow.from], self.agents[arrow.to]);
        let middle = AGENT_HEIGHT / 2;
        // What leaves and what arrives keep apart.
        let (begin_y, end_y) = (from.1 + middle - 6, to.1 + middle + 6);
        let right = |agent: (i64, i64)| agent.0 + self.agent_width;
        if from.0 == to.0 {
            let bulge = right(from) + 50 + (begin_y - end_y).abs() / 6;
            let (begin, end) = ((right(from), begin_y), (right(to), end_y));
            return Curve { begin, out: (bulge, begin_y), back: (bulge, end_y), end };
        }
        let (begin_x, end_x) = if from.0 < to.0 { (right(from), to.0) } else { (from.0, right(to)) };
        let bend = (end_x - begin_x) / 3;
        let (begin, end) = ((begin_x, begin_y), (end_x, end_y));
        Curve { begin, out: (begin_x + bend, begin_y), back: (end_x - bend, end_y), end }
    }
}

/// A cubic curve.
struct Curve {
    begin: (i64, i64),
    out: (i64, i64),
    back: (i64, i64),
    end: (i64, i64),
}

impl Curve {
    fn path(&self) -> String {
        let Self { begin, out, back, end } = self;
        format!("M{},{} C{},{} {},{} {},{}", begin.0, begin.1, out.0, out.1, back.0, back.1, end.0, end.1)
    }

    /// The point after a third of the way, where the arrow in the other direction does not have its name.
    fn label(&self) -> (i64, i64) {
        // The weights of a cubic curve at one third, in 27ths.
        let at = |begin: i64, out: i64, back: i64, end: i64| (8 * begin + 12 * out + 6 * back + end) / 27;
        let x = at(self.begin.0, self.out.0, self.back.0, self.end.0);
        (x, at(self.begin.1, self.out.1, self.back.1, self.end.1) + 4)
    }
}

fn length(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX / 1000)
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
        for (x, y) in plan.agents.values() {
            assert!(*x > 0 && x + plan.agent_width < plan.width && y + AGENT_HEIGHT < plan.height);
        }
    }

    #[test]
    fn nothing_at_all_can_be_drawn() {
        assert!(svg(&Configuration::default()).ends_with("</svg>\n"));
        assert!(dot(&Configuration::default()).ends_with("}\n"));
    }
}

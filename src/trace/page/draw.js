// Draws the diagram onto its canvas: bands and lines here, arrows and marks in marks.js, words and the axis in words.js. Only what
// lies in the window is touched, and what looks alike is drawn at once.

const canvas = document.getElementById("diagram");
const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const BOLD = FONT.replace("12px", "600 12px");
const SMALL = FONT.replace("12px", "11px");
/** With more events than this in the window, marks are strokes and arrows have no heads. */
const DETAILED_MAX = 1500;
/** With more than this, nothing is written beside them. */
const WORDS_MAX = 400;

/** The colours of the page's style sheet, by name. */
let colours = {};
/** What the last drawing did, for tests and measurements. */
const drawn = { events: 0, arrows: 0, times: 0, milliseconds: 0 };

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ground", "panel", "ink", "soft", "line", "edge", "accent", "lost", "crash", "pause", "cut", "cut-other", "past", "future"];
  const more = ["match", "kind-0", "kind-1", "kind-2", "kind-3", "kind-4", "kind-5", "kind-quiet"];
  colours = Object.fromEntries([...names, ...more].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** The name of the colour of each kind of message: the loud ones take turns. */
const kindColours = (() => {
  let next = 0;
  return model.kinds.map((kind) => (QUIET_KINDS.includes(kind) ? "kind-quiet" : `kind-${next++ % 6}`));
})();

/** Fits a canvas to its place on the screen, and hands out its pen in CSS pixels. */
function penFor(element) {
  const ratio = window.devicePixelRatio || 1;
  const width = element.clientWidth;
  const height = element.clientHeight;
  if (element.width !== Math.round(width * ratio) || element.height !== Math.round(height * ratio)) {
    element.width = Math.round(width * ratio);
    element.height = Math.round(height * ratio);
  }
  const pen = element.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

function drawDiagram() {
  const began = performance.now();
  const pen = penFor(canvas);
  fitGutter(pen);
  setSize(canvas.clientWidth, canvas.clientHeight);
  const margin = 20 * unitsPerPixel();
  const rows = rowsInSight();
  const events = rows.map((row) => [row, eventsInWindow(shown.byRow[row], margin)]);
  const arrows = arrowsInWindow(margin).filter(isInSight);
  const count = events.reduce((sum, [, line]) => sum + line.length, 0);
  const isDetailed = count <= DETAILED_MAX;
  pen.save();
  pen.beginPath();
  pen.rect(state.gutter, AXIS_PX, state.width - state.gutter, state.height - AXIS_PX);
  pen.clip();
  drawPartitions(pen);
  rows.forEach((row) => drawLine(pen, row));
  drawSpans(pen);
  drawCone(pen, rows);
  drawArrows(pen, arrows, isDetailed);
  events.forEach(([row, line]) => drawMarks(pen, row, line, isDetailed));
  drawRings(pen, events);
  if (count <= WORDS_MAX) {
    const taken = new Set();
    events.forEach(([row, line]) => writeWords(pen, row, line, taken));
    writeMessages(pen, arrows, taken);
  }
  pen.restore();
  drawAxis(pen);
  drawGutter(pen, rows);
  Object.assign(drawn, { events: count, arrows: arrows.length, times: drawn.times + 1, milliseconds: performance.now() - began });
}

/** The names of the servers decide how much room they get. */
function fitGutter(pen) {
  pen.font = BOLD;
  const widest = Math.max(0, ...shown.rows.slice(0, 500).map((server) => pen.measureText(serverName(server)).width));
  state.gutter = Math.min(Math.max(widest + 28, 62), GUTTER_PX_MAX);
}

function rowsInSight() {
  const first = Math.max(Math.floor(state.scroll / state.rowHeight), 0);
  const last = Math.ceil((state.scroll + state.height - AXIS_PX) / state.rowHeight);
  return shown.rows.map((_, row) => row).slice(first, last);
}

function isInSight(arrow) {
  const from = yOf(arrow.send);
  const to = yOfRow(shown.rowOf[model.peer[arrow.send]]);
  return Math.max(from, to) >= AXIS_PX && Math.min(from, to) <= state.height;
}

// Behind the lines

/** Partitions: servers of one colour hear each other. */
function drawPartitions(pen) {
  for (const cut of model.partitions) {
    if (state.hiddenGroups.has("network")) return;
    const [left, right] = spanOf(cut.event, cut.heal);
    if (right < state.gutter || left > state.width) continue;
    tintRows(pen, cut.to, left, right, "cut");
    if (cut.bothWays) tintRows(pen, cut.from, left, right, "cut-other");
    pen.strokeStyle = colours.cut;
    pen.lineWidth = 1.5;
    pen.setLineDash([5, 4]);
    pen.beginPath();
    for (const x of cut.heal >= 0 ? [left, right] : [left]) {
      pen.moveTo(x, AXIS_PX);
      pen.lineTo(x, state.height);
    }
    pen.stroke();
    pen.setLineDash([]);
  }
}

/** From where to where something reaches, in pixels, kept near the window. */
function spanOf(from, to) {
  const left = from >= 0 ? xOf(shown.position[from]) : -10;
  const right = to >= 0 ? xOf(shown.position[to]) : state.width + 10;
  return [Math.max(left, -10), Math.min(right, state.width + 10)];
}

function tintRows(pen, servers, left, right, colour) {
  pen.globalAlpha = 0.13;
  pen.fillStyle = colours[colour];
  for (const server of servers) {
    const row = shown.rowOf[server] ?? -1;
    if (row >= 0) pen.fillRect(left, yOfRow(row) - state.rowHeight / 2, right - left, state.rowHeight);
  }
  pen.globalAlpha = 1;
}

/** The line of a server, where it runs. */
function drawLine(pen, row) {
  const y = yOfRow(row);
  pen.strokeStyle = colours.line;
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.moveTo(state.gutter, y);
  for (const span of model.spans) {
    if (span.server !== shown.rows[row]) continue;
    const [left, right] = spanOf(span.from, span.to);
    pen.lineTo(left, y);
    pen.moveTo(right, y);
  }
  pen.lineTo(state.width, y);
  pen.stroke();
}

const SPAN_LOOKS = {
  crashed: { colour: "crash", alpha: 0.16, word: "crashed" },
  paused: { colour: "pause", alpha: 0.2, word: "paused" },
  stopped: { colour: "soft", alpha: 0.12, word: "stopped" },
  absent: { colour: "soft", alpha: 0, word: "" },
};

/** Bands where a server did not run. */
function drawSpans(pen) {
  for (const span of model.spans) {
    const row = shown.rowOf[span.server];
    if (row < 0) continue;
    const [left, right] = spanOf(span.from, span.to);
    const y = yOfRow(row);
    if (right < state.gutter || left > state.width || y < 0 || y > state.height + state.rowHeight) continue;
    drawSpan(pen, SPAN_LOOKS[span.what], left, right, y);
  }
}

function drawSpan(pen, look, left, right, y) {
  const half = Math.min(state.rowHeight * 0.32, 16);
  pen.globalAlpha = look.alpha;
  pen.fillStyle = colours[look.colour];
  pen.fillRect(left, y - half, right - left, 2 * half);
  pen.globalAlpha = 1;
  pen.strokeStyle = look.alpha ? colours[look.colour] : colours.line;
  pen.setLineDash([2, 5]);
  pen.lineWidth = 1.2;
  pen.beginPath();
  pen.moveTo(left, y);
  pen.lineTo(right, y);
  pen.stroke();
  pen.setLineDash([]);
  const begin = Math.max(left, state.gutter);
  if (look.word && Math.min(right, state.width) - begin > 66) {
    pen.font = SMALL;
    pen.textAlign = "left";
    pen.fillStyle = colours[look.colour];
    pen.fillText(look.word, begin + 12, y + half - 4);
  }
}

/** Of the selected event: how far its past and its future reach on each line. */
function drawCone(pen, rows) {
  if (!state.relations) return;
  for (const row of rows) {
    const line = model.lines[shown.rows[row]];
    const isSelf = model.server[state.selected] === shown.rows[row];
    const lastPast = isSelf ? state.selected : line.findLast((event) => state.relations[event] === PAST);
    const firstFuture = isSelf ? state.selected : line.find((event) => state.relations[event] === FUTURE);
    if (lastPast !== undefined) thickLine(pen, row, ...spanOf(line[0], lastPast), colours.past);
    if (firstFuture !== undefined) thickLine(pen, row, ...spanOf(firstFuture, line.at(-1)), colours.future);
  }
}

function thickLine(pen, row, left, right, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 3.5;
  pen.beginPath();
  pen.moveTo(left, yOfRow(row));
  pen.lineTo(right, yOfRow(row));
  pen.stroke();
}

// What the mouse points at

/** What lies under a point: the nearest event within reach, else the send of the nearest arrow; -1 is nothing. */
function whatIsAt(x, y) {
  const reach = 9;
  const row = Math.floor((y - AXIS_PX + state.scroll) / state.rowHeight);
  if (x < state.gutter || y < AXIS_PX) return cutAt(x, y);
  if (shown.byRow[row]?.length && Math.abs(yOfRow(row) - y) <= reach + 4) {
    const event = nearestTo(positionAt(x), shown.byRow[row]);
    if (Math.abs(xOf(shown.position[event]) - x) <= reach) return event;
  }
  let best = { distance: 5, send: -1 };
  for (const arrow of arrowsInWindow(0)) {
    const distance = distanceTo(pointsOf(arrow), x, y);
    if (distance < best.distance) best = { distance, send: arrow.send };
  }
  return best.send;
}

/** The partition whose caption is at a point above the axis. */
function cutAt(x, y) {
  if (y > 22 || x < state.gutter) return -1;
  const found = model.partitions.find((cut) => {
    const [left, right] = spanOf(cut.event, cut.heal);
    return x >= left && x <= right;
  });
  return found && !state.hiddenGroups.has("network") ? found.event : -1;
}

function distanceTo({ x1, y1, x2, y2 }, x, y) {
  const length = (x2 - x1) ** 2 + (y2 - y1) ** 2 || 1;
  const share = Math.min(Math.max(((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / length, 0), 1);
  return Math.hypot(x - x1 - share * (x2 - x1), y - y1 - share * (y2 - y1));
}

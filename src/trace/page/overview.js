// The whole run in one strip: where much happens, where something went wrong, and which part the diagram shows.

const overviewCanvas = document.getElementById("overview");
const OVERVIEW_STEP_PX = 2;

function drawOverview() {
  const pen = penFor(overviewCanvas);
  const width = overviewCanvas.clientWidth;
  const height = overviewCanvas.clientHeight;
  for (const cut of model.partitions) {
    const [left, right] = overviewSpan(cut.event, cut.heal);
    pen.globalAlpha = 0.15;
    pen.fillStyle = colours.cut;
    pen.fillRect(left, 0, right - left, height);
  }
  pen.globalAlpha = 1;
  drawDensity(pen, width, height);
  drawTroubles(pen, height);
  const [from, to] = [overviewX(state.from), overviewX(state.to)];
  pen.globalAlpha = 0.12;
  pen.fillStyle = colours.accent;
  pen.fillRect(from, 0, to - from, height);
  pen.globalAlpha = 1;
  pen.strokeStyle = colours.accent;
  pen.lineWidth = 1.5;
  pen.strokeRect(from + 0.75, 0.75, Math.max(to - from - 1.5, 3), height - 1.5);
}

/** Each server's line in small; where more happens it is darker. */
function drawDensity(pen, width, height) {
  const top = 14;
  const tall = Math.min((height - top - 4) / Math.max(shown.rows.length, 1), 8);
  const columns = Math.ceil(width / OVERVIEW_STEP_PX) + 1;
  shown.byRow.forEach((events, row) => {
    const counts = new Float64Array(columns);
    for (const event of events) counts[Math.floor(overviewX(shown.position[event]) / OVERVIEW_STEP_PX)] += 1;
    drawDensityRow(pen, counts, top + row * tall, Math.max(tall - 1, 0.7));
  });
  pen.globalAlpha = 1;
}

function drawDensityRow(pen, counts, y, tall) {
  pen.fillStyle = colours.ink;
  // Roots, so that one burst does not make all the rest pale.
  const most = Math.sqrt(counts.reduce((one, other) => Math.max(one, other), 1));
  counts.forEach((count, column) => {
    if (!count) return;
    pen.globalAlpha = 0.15 + 0.6 * (Math.sqrt(count) / most);
    pen.fillRect(column * OVERVIEW_STEP_PX, y, OVERVIEW_STEP_PX, tall);
  });
}

/** Ticks at the top for what went wrong, and for what the search has found. */
function drawTroubles(pen, height) {
  for (const span of model.spans) {
    if (span.what !== "crashed" && span.what !== "paused") continue;
    const [left, right] = overviewSpan(span.from, span.to);
    pen.fillStyle = colours[SPAN_LOOKS[span.what].colour];
    pen.fillRect(left, 3, Math.max(right - left, 2), 3);
  }
  pen.fillStyle = colours.lost;
  for (const event of shown.sorted) {
    if (isLost(event)) pen.fillRect(overviewX(shown.position[event]), 8, 1.5, 4);
  }
  pen.fillStyle = colours.match;
  for (const event of state.matches) pen.fillRect(overviewX(shown.position[event]) - 1, height - 14, 2, 14);
}

function overviewX(position) {
  return ((position - state.start) / (state.end - state.start)) * overviewCanvas.clientWidth;
}

function overviewSpan(from, to) {
  const left = from >= 0 ? overviewX(shown.position[from]) : 0;
  return [left, to >= 0 ? overviewX(shown.position[to]) : overviewCanvas.clientWidth];
}

function overviewPosition(x) {
  return state.start + (x / Math.max(overviewCanvas.clientWidth, 1)) * (state.end - state.start);
}

/** Moves the window so that its middle is at `x`. */
function overviewMove(x) {
  const half = (state.to - state.from) / 2;
  const middle = overviewPosition(x);
  setWindow(middle - half, middle + half);
}

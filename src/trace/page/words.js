// Words in the diagram, and what is written around it.

const MESSAGE_WORDS_MAX = 80;

/** Writes beside the marks what they say, where there is room. */
function writeWords(pen, row, events, taken) {
  pen.textAlign = "left";
  for (const event of events) {
    const type = model.type[event];
    if (!["command", "answer", "note"].includes(type) || state.rowHeight < 40) continue;
    const isBelow = type !== "command";
    const text = (type === "answer" ? "→ " : "") + shorten(model.text[event], 34);
    pen.font = type === "command" ? BOLD : SMALL;
    const x = xOf(shown.position[event]) - 4;
    const y = yOfRow(row) + (isBelow ? 19 : -11);
    if (!takePlace(taken, x, y, pen.measureText(text).width)) continue;
    const isDim = state.relations && state.relations[event] === UNRELATED;
    writeOver(pen, text, x, y, type === "command" ? colours.ink : colours.soft, isDim ? 0.3 : 1);
  }
}

/** Writes along the arrows what the messages say, where there is room. */
function writeMessages(pen, arrows, taken) {
  pen.font = SMALL;
  pen.textAlign = "center";
  let written = 0;
  for (const arrow of arrows) {
    if (written >= MESSAGE_WORDS_MAX || relationOfArrow(arrow) === UNRELATED) continue;
    const { x1, y1, x2, y2 } = pointsOf(arrow);
    const text = shorten(`${kindName(arrow.send)} ${model.text[arrow.send]}`.trim(), 24);
    const width = pen.measureText(text).width;
    const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
    // Words that stand steeply cannot be read.
    if (Math.hypot(x2 - x1, y2 - y1) < width + 24 || Math.abs(y2 - y1) > 1.7 * Math.abs(x2 - x1)) continue;
    if (!takePlace(taken, x - width / 2, y, width)) continue;
    written += 1;
    pen.save();
    pen.translate(x, y);
    pen.rotate(Math.atan2(y2 - y1, x2 - x1) + (x2 < x1 ? Math.PI : 0));
    writeOver(pen, text, 0, -4, colours[arrow.receive < 0 ? "lost" : kindColours[model.kind[arrow.send]]], 1);
    pen.restore();
  }
}

/** Takes a place on a coarse grid; false if somebody has it already. */
function takePlace(taken, x, y, width) {
  const cells = [];
  for (let column = Math.floor(x / 20); column <= Math.floor((x + width + 8) / 20); column += 1) {
    cells.push(`${column} ${Math.round(y / 14)}`);
  }
  if (cells.some((cell) => taken.has(cell))) return false;
  cells.forEach((cell) => taken.add(cell));
  return true;
}

function writeOver(pen, text, x, y, colour, alpha) {
  pen.globalAlpha = alpha;
  pen.lineWidth = 3;
  pen.lineJoin = "round";
  pen.strokeStyle = colours.panel;
  pen.strokeText(text, x, y);
  pen.fillStyle = colour;
  pen.fillText(text, x, y);
  pen.globalAlpha = 1;
}

function shorten(text, most) {
  const line = text.replace(/\s+/g, " ");
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
}

// Around

function drawAxis(pen) {
  pen.fillStyle = colours.panel;
  pen.fillRect(0, 0, state.width, AXIS_PX);
  pen.strokeStyle = colours.edge;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(0, AXIS_PX + 0.5);
  pen.lineTo(state.width, AXIS_PX + 0.5);
  pen.stroke();
  pen.font = SMALL;
  pen.textAlign = "center";
  for (const [position, text] of ticks()) {
    const x = xOf(position);
    if (x < state.gutter + 24) continue;
    pen.fillStyle = colours.soft;
    pen.fillText(text, x, AXIS_PX - 10);
    pen.fillRect(x, AXIS_PX - 5, 1, 5);
  }
  writeCaptions(pen);
}

/** Where the axis has marks and what they say. On the scale of steps they tell the time of the event that stands there. */
function ticks() {
  const room = (state.width - state.gutter) / 110;
  if (state.scale === "time") {
    const step = roundStep((state.to - state.from) / room);
    const digits = Math.min(Math.max(Math.ceil(-Math.log10(step / 1e9)), 0), 9);
    const first = Math.ceil(Math.max(state.from, 0) / step);
    const last = Math.floor(state.to / step);
    return range(first, last).map((number) => [number * step, timeText(model.first + number * step, digits)]);
  }
  const step = Math.max(Math.round((state.to - state.from) / room), 1);
  const first = Math.max(Math.ceil(state.from / step), 0);
  const last = Math.min(Math.floor(state.to / step), Math.floor((shown.sorted.length - 1) / step));
  return range(first, last).map((number) => [number * step, timeText(model.at[shown.sorted[number * step]])]);
}

function range(first, last) {
  return Array.from({ length: Math.max(last - first + 1, 0) }, (_, number) => first + number);
}

/** 1, 2 or 5 times a power of ten, and not less than `least`. */
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= least);
}

/** Says above the axis what each partition cuts. */
function writeCaptions(pen) {
  if (state.hiddenGroups.has("network")) return;
  pen.save();
  pen.beginPath();
  pen.rect(state.gutter, 0, state.width, AXIS_PX);
  pen.clip();
  pen.font = SMALL;
  pen.textAlign = "left";
  let free = -Infinity;
  for (const cut of model.partitions) {
    const [left, right] = spanOf(cut.event, cut.heal);
    const begin = Math.max(left, state.gutter) + 4;
    if (right < state.gutter + 8 || left > state.width || begin < free) continue;
    const text = captionOf(cut);
    pen.fillStyle = colours.cut;
    pen.fillText(text, begin, 14);
    free = begin + pen.measureText(text).width + 10;
  }
  pen.restore();
}

function captionOf(cut) {
  const names = (servers) => shorten(servers.map(serverName).join(" "), 30);
  return cut.bothWays ? `${names(cut.from)}  ✕  ${names(cut.to)}` : `${names(cut.to)} not hearing ${names(cut.from)}`;
}

function drawGutter(pen, rows) {
  pen.fillStyle = colours.panel;
  pen.fillRect(0, AXIS_PX + 1, state.gutter, state.height);
  pen.fillStyle = colours.edge;
  pen.fillRect(state.gutter - 1, 0, 1, state.height);
  pen.font = BOLD;
  pen.textAlign = "right";
  pen.save();
  pen.beginPath();
  pen.rect(0, AXIS_PX, state.gutter - 6, state.height);
  pen.clip();
  for (const row of rows) {
    const isOwn = state.selected >= 0 && model.server[state.selected] === shown.rows[row];
    pen.fillStyle = isOwn ? colours.accent : colours.ink;
    pen.fillText(serverName(shown.rows[row]), state.gutter - 12, yOfRow(row) + 4, state.gutter - 20);
  }
  pen.restore();
  drawScrollbar(pen);
  pen.font = SMALL;
  pen.fillStyle = colours.soft;
  pen.fillText("server", state.gutter - 12, AXIS_PX - 10);
}

/** Where there are more rows than fit: which part of them is seen. */
function drawScrollbar(pen) {
  const room = state.height - AXIS_PX;
  const whole = shown.rows.length * state.rowHeight;
  if (whole <= room + 1) return;
  pen.fillStyle = colours.line;
  pen.fillRect(state.width - 6, AXIS_PX + (state.scroll / whole) * room, 4, (room / whole) * room);
}

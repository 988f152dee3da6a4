// Arrows and marks, in few strokes: all that look alike are one path.

// Arrows

/** What an arrow is to the selected event: part of its past, of its future, or neither. */
function relationOfArrow(arrow) {
  if (!state.relations) return SELF;
  const ends = [arrow.send, arrow.receive].map((event) => (event >= 0 ? state.relations[event] : UNRELATED));
  for (const side of [PAST, FUTURE]) {
    if (ends.every((relation) => relation === side || relation === SELF)) return side;
  }
  // A lost message of the past or future still ends nowhere.
  if (arrow.receive < 0 && ends[0] !== UNRELATED) return ends[0] === PAST ? PAST : FUTURE;
  return UNRELATED;
}

function drawArrows(pen, arrows, isDetailed) {
  const buckets = new Map();
  for (const arrow of arrows) {
    const relation = relationOfArrow(arrow);
    const key = `${relation} ${arrow.receive < 0 ? "lost" : kindColours[model.kind[arrow.send]]}`;
    if (!buckets.has(key)) buckets.set(key, []);
    buckets.get(key).push(arrow);
  }
  // What is related to the selected event lies above the rest.
  for (const key of [...buckets.keys()].sort()) drawBucket(pen, key, buckets.get(key), isDetailed);
}

function drawBucket(pen, key, arrows, isDetailed) {
  const [relation, colour] = key.split(" ");
  const isDim = Number(relation) === UNRELATED;
  const side = { [PAST]: "past", [FUTURE]: "future" }[relation];
  pen.globalAlpha = isDim ? 0.13 : isDetailed || side ? 0.9 : paleness(arrows.length, colour);
  pen.strokeStyle = colours[colour === "lost" ? "lost" : (side ?? colour)];
  pen.fillStyle = pen.strokeStyle;
  pen.lineWidth = side && isDetailed ? 1.8 : isDetailed ? 1.2 : 0.8;
  pen.setLineDash(colour === "lost" ? [4, 3] : []);
  const lines = new Path2D();
  const ends = new Path2D();
  for (const arrow of arrows) {
    const points = pointsOf(arrow);
    lines.moveTo(points.x1, points.y1);
    lines.lineTo(points.x2, points.y2);
    if (arrow.receive < 0) addCross(ends, points.x2, points.y2, isDetailed ? 5 : 2.5);
    else if (isDetailed) addHead(ends, points);
  }
  pen.stroke(lines);
  pen.setLineDash([]);
  if (colour === "lost") {
    pen.lineWidth = isDetailed ? 2.2 : 1.2;
    pen.stroke(ends);
  } else {
    pen.fill(ends);
  }
  pen.globalAlpha = 1;
}

/** The more arrows there are, the paler they are drawn; lost ones keep being seen. */
function paleness(count, colour) {
  return colour === "lost" ? Math.min(Math.max(0.35, 600 / count), 0.9) : Math.min(Math.max(0.08, 600 / count), 0.9);
}

/** Where an arrow begins and ends. A lost one ends on the way. */
function pointsOf(arrow) {
  const x1 = xOf(arrow.from);
  const y1 = yOf(arrow.send);
  const target = yOfRow(shown.rowOf[model.peer[arrow.send]]);
  if (arrow.receive >= 0) return { x1, y1, x2: xOf(arrow.to), y2: target };
  const far = arrow.to > arrow.from ? xOf(arrow.to) - x1 : 0;
  const reach = Math.min(Math.max(far, 14), 60);
  // The further it had to go, the longer: so those that left together for several servers can be told apart.
  const rows = Math.abs(target - y1) / state.rowHeight;
  const away = Math.sign(target - y1) * Math.min(state.rowHeight * 0.45, 60) * (1 + 0.3 * (rows - 1));
  return { x1, y1, x2: x1 + reach, y2: y1 + away };
}

function addCross(path, x, y, size) {
  path.moveTo(x - size, y - size);
  path.lineTo(x + size, y + size);
  path.moveTo(x - size, y + size);
  path.lineTo(x + size, y - size);
}

function addHead(path, { x1, y1, x2, y2 }) {
  const length = Math.hypot(x2 - x1, y2 - y1) || 1;
  const [along, across] = [(x2 - x1) / length, (y2 - y1) / length];
  const [tipX, tipY] = [x2 - along * 3, y2 - across * 3];
  const size = Math.min(8, length / 2);
  path.moveTo(tipX, tipY);
  path.lineTo(tipX - along * size - across * size * 0.45, tipY - across * size + along * size * 0.45);
  path.lineTo(tipX - along * size + across * size * 0.45, tipY - across * size - along * size * 0.45);
  path.closePath();
}

// Marks

const MARKS = {
  send: { shape: "dot" },
  receive: { shape: "dot" },
  command: { shape: "diamond", colour: "ink" },
  answer: { shape: "ring", colour: "ink" },
  note: { shape: "square", colour: "soft" },
  up: { shape: "up", colour: "cut-other" },
  down: { shape: "down", colour: "lost" },
  start: { shape: "start", colour: "ink" },
  resume: { shape: "start", colour: "pause" },
  crash: { shape: "cross", colour: "crash" },
  stop: { shape: "bar", colour: "soft" },
  pause: { shape: "bar", colour: "pause" },
  drop: { shape: "cross", colour: "lost" },
};

function markColour(event) {
  if (state.relations && model.place[event]) {
    if (state.relations[event] === PAST) return "past";
    if (state.relations[event] === FUTURE) return "future";
  }
  return MARKS[model.type[event]]?.colour ?? kindColours[model.kind[event]] ?? "ink";
}

function drawMarks(pen, row, events, isDetailed) {
  const y = yOfRow(row);
  const buckets = new Map();
  for (const event of events) {
    const isDim = state.relations && state.relations[event] === UNRELATED;
    const shape = isDetailed ? MARKS[model.type[event]].shape : "dash";
    const key = `${isDim ? 1 : 0} ${markColour(event)} ${shape}`;
    if (!buckets.has(key)) buckets.set(key, new Path2D());
    const x = xOf(shown.position[event]);
    SHAPES[shape].add(buckets.get(key), isDetailed ? x : Math.round(x), y);
  }
  for (const [key, path] of buckets) {
    const [isDim, colour, shape] = key.split(" ");
    pen.globalAlpha = isDim === "1" ? 0.22 : 1;
    pen.fillStyle = SHAPES[shape].isHollow ? colours.panel : colours[colour];
    pen.strokeStyle = colours[colour];
    pen.lineWidth = shape === "cross" ? 3 : 1.8;
    if (shape !== "cross") pen.fill(path);
    if (shape !== "dash") pen.stroke(path);
  }
  pen.globalAlpha = 1;
}

const polygon = (path, points) => {
  points.forEach(([x, y], number) => (number ? path.lineTo(x, y) : path.moveTo(x, y)));
  path.closePath();
};

/** How each mark is added to a path around a point. */
const SHAPES = {
  dot: { add: (path, x, y) => { path.moveTo(x + 2.4, y); path.arc(x, y, 2.4, 0, 7); } },
  ring: { isHollow: true, add: (path, x, y) => { path.moveTo(x + 4, y); path.arc(x, y, 4, 0, 7); } },
  dash: { add: (path, x, y) => path.rect(x - 0.5, y - 3, 1, 6) },
  diamond: { add: (path, x, y) => polygon(path, [[x - 5, y], [x, y - 5], [x + 5, y], [x, y + 5]]) },
  square: { isHollow: true, add: (path, x, y) => path.rect(x - 3, y - 3, 6, 6) },
  up: { add: (path, x, y) => polygon(path, [[x - 4, y - 3], [x + 4, y - 3], [x, y - 9]]) },
  down: { add: (path, x, y) => polygon(path, [[x - 4, y + 3], [x + 4, y + 3], [x, y + 9]]) },
  start: { add: (path, x, y) => polygon(path, [[x - 3, y - 6], [x + 6, y], [x - 3, y + 6]]) },
  bar: { add: (path, x, y) => path.rect(x - 1, y - 7, 2, 14) },
  cross: { add: (path, x, y) => addCross(path, x, y, 6) },
};

/** Rings around matches, the selected event and the one under the mouse. */
function drawRings(pen, events) {
  const ring = (event, radius, colour, width) => {
    pen.strokeStyle = colours[colour];
    pen.lineWidth = width;
    pen.beginPath();
    pen.arc(xOf(shown.position[event]), yOf(event), radius, 0, 7);
    pen.stroke();
  };
  if (state.isMatch) {
    for (const [, line] of events) for (const event of line) if (state.isMatch[event]) ring(event, 7, "match", 3);
  }
  for (const [event, colour] of [[state.hovered, "soft"], [state.selected, "accent"]]) {
    if (event >= 0 && model.server[event] >= 0 && shown.event[event]) ring(event, 9, colour, 2.5);
  }
}

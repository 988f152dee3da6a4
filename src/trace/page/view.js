// What is shown of the trace: filters, scale, window, selection; and where each event then stands.

/** Types of events that are filtered together. Each kind of message is a group of its own: `kind:msg`. */
const GROUPS = [
  { name: "driver", label: "commands", types: ["command", "answer"] },
  { name: "note", label: "notes", types: ["note"] },
  { name: "link", label: "links", types: ["up", "down"] },
  { name: "life", label: "lives", types: ["start", "crash", "stop", "pause", "resume"] },
  { name: "network", label: "network", types: ["drop", "partition", "heal"] },
];
/** Heartbeats, which say nothing but that somebody is there, and say it often. */
const QUIET_KINDS = ["ping", "pong", "heartbeat"];
const GUTTER_PX_MAX = 150;
const AXIS_PX = 46;
const ROW_PX_MIN = 26;
const ROW_PX_MAX = 170;

const state = {
  scale: "order",
  /** The window onto the scale: from, to. */
  from: 0,
  to: 1,
  /** The scale itself, with some room at both ends. */
  start: 0,
  end: 1,
  scroll: 0,
  width: 0,
  height: 0,
  gutter: 60,
  rowHeight: ROW_PX_MIN,
  hiddenGroups: new Set(),
  hiddenServers: new Set(),
  query: "",
  matches: [],
  isMatch: null,
  selected: -1,
  hovered: -1,
  relations: null,
};

/** What follows from filters and scale. */
const shown = {
  /** Whether an event is shown. */
  event: new Uint8Array(model.count),
  /** The servers that are shown, and the row of each server (-1: none). */
  rows: [],
  rowOf: new Int32Array(model.servers.length),
  /** Where each event stands on the scale, shown or not. */
  position: new Float64Array(model.count),
  /** The events that are shown, from left to right; all of them, and those of each row. */
  sorted: [],
  byRow: [],
  /** Messages as {send, receive (-1: lost), left, right}, by their left ends; and how far right the ones so far reach. */
  arrows: [],
  reach: new Float64Array(0),
};

const groupOf = model.type.map((type, event) => {
  if (model.kind[event] >= 0) return `kind:${kindName(event)}`;
  return GROUPS.find((group) => group.types.includes(type)).name;
});

/** Works `shown` out again, after filters or scale have changed. */
function refresh() {
  shown.rows = model.servers.map((_, server) => server).filter((server) => !state.hiddenServers.has(server));
  shown.rowOf.fill(-1);
  shown.rows.forEach((server, row) => { shown.rowOf[server] = row; });
  for (let event = 0; event < model.count; event += 1) {
    const server = model.server[event];
    const isHere = server < 0 || shown.rowOf[server] >= 0;
    const isWanted = isHere && !state.hiddenGroups.has(groupOf[event]) && !model.isToldBySend[event];
    shown.event[event] = isWanted ? 1 : 0;
  }
  placeEvents();
  const byPosition = (one, other) => shown.position[one] - shown.position[other];
  shown.sorted = [...model.order].filter((event) => shown.event[event]).sort(byPosition);
  shown.byRow = shown.rows.map(() => []);
  for (const event of shown.sorted) {
    if (model.server[event] >= 0) shown.byRow[shown.rowOf[model.server[event]]].push(event);
  }
  findArrows();
}

function placeEvents() {
  if (state.scale === "time") {
    for (let event = 0; event < model.count; event += 1) shown.position[event] = model.at[event] - model.first;
    setScale(0, model.last - model.first);
    return;
  }
  let step = 0;
  for (const event of model.order) {
    // What is not shown takes no room.
    shown.position[event] = step;
    if (shown.event[event]) step += 1;
  }
  setScale(0, Math.max(step - 1, 0));
}

/** The scale reaches from first to last, and a little further. */
function setScale(first, last) {
  const margin = Math.max((last - first) * 0.03, state.scale === "order" ? 1 : 1000);
  state.start = first - margin;
  state.end = last + margin;
}

function findArrows() {
  const arrows = [];
  for (const send of shown.sorted) {
    if (model.type[send] !== "send" || shown.rowOf[model.peer[send]] < 0) continue;
    const receives = model.receives.get(send);
    if (!receives) arrows.push(arrowOf(send, -1));
    for (const receive of receives ?? []) {
      if (shown.event[receive]) arrows.push(arrowOf(send, receive));
    }
  }
  arrows.sort((one, other) => one.left - other.left);
  shown.arrows = arrows;
  shown.reach = new Float64Array(arrows.length);
  arrows.reduce((reach, arrow, number) => (shown.reach[number] = Math.max(reach, arrow.right)), -Infinity);
}

function arrowOf(send, receive) {
  const drop = model.dropped[send];
  const from = shown.position[send];
  let to = from;
  if (receive >= 0) to = shown.position[receive];
  else if (drop >= 0) to = Math.max(from, shown.position[drop]);
  return { send, receive, from, to, left: Math.min(from, to), right: Math.max(from, to) };
}

/** The number of the first entry of `list` for which `isFar` holds; it holds for all that follow. */
function firstWhere(list, isFar) {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isFar(list[middle])) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The arrows that reach into the window; `margin` is in units of the scale. */
function arrowsInWindow(margin) {
  const left = state.from - margin;
  const found = [];
  for (let number = firstWhere(shown.reach, (reach) => reach >= left); number < shown.arrows.length; number += 1) {
    const arrow = shown.arrows[number];
    if (arrow.left > state.to + margin) break;
    if (arrow.right >= left) found.push(arrow);
  }
  return found;
}

/** The part of a list of events, sorted by position, that lies in the window. */
function eventsInWindow(events, margin) {
  const begin = firstWhere(events, (event) => shown.position[event] >= state.from - margin);
  const end = firstWhere(events, (event) => shown.position[event] > state.to + margin);
  return events.slice(begin, end);
}

// Pixels

function unitsPerPixel() {
  return (state.to - state.from) / Math.max(state.width - state.gutter, 1);
}

function xOf(position) {
  return state.gutter + (position - state.from) / unitsPerPixel();
}

function positionAt(x) {
  return state.from + (x - state.gutter) * unitsPerPixel();
}

function yOfRow(row) {
  return AXIS_PX + (row + 0.5) * state.rowHeight - state.scroll;
}

function yOf(event) {
  return yOfRow(shown.rowOf[model.server[event]]);
}

function setSize(width, height) {
  state.width = width;
  state.height = height;
  const room = (height - AXIS_PX) / Math.max(shown.rows.length, 1);
  state.rowHeight = Math.min(Math.max(room, ROW_PX_MIN), ROW_PX_MAX);
  scrollTo(state.scroll);
}

function scrollTo(scroll) {
  const most = shown.rows.length * state.rowHeight - (state.height - AXIS_PX);
  state.scroll = Math.min(Math.max(scroll, 0), Math.max(most, 0));
}

// Moving the window

function setWindow(from, to) {
  const whole = state.end - state.start;
  const least = state.scale === "order" ? Math.min(4, whole) : Math.min(1000, whole);
  const span = Math.min(Math.max(to - from, least), whole);
  const middle = (from + to) / 2;
  state.from = Math.min(Math.max(middle - span / 2, state.start), state.end - span);
  state.to = state.from + span;
}

function fit() {
  setWindow(state.start, state.end);
}

/** Zooms so that what is under `x` stays there. */
function zoom(factor, x = state.gutter + (state.width - state.gutter) / 2) {
  const fixed = positionAt(x);
  setWindow(fixed - (fixed - state.from) * factor, fixed + (state.to - fixed) * factor);
}

function pan(pixels) {
  const by = pixels * unitsPerPixel();
  setWindow(state.from + by, state.to + by);
}

/** Brings an event into sight; `near` zooms in until its neighbours can be told apart. */
function reveal(event, near = false) {
  const position = shown.position[event];
  const perEvent = (state.end - state.start) / Math.max(shown.sorted.length, 1);
  const span = near ? Math.min(state.to - state.from, perEvent * 60) : state.to - state.from;
  const margin = span * 0.08;
  if (near && span < state.to - state.from) setWindow(position - span / 2, position + span / 2);
  else if (position < state.from + margin || position > state.to - margin) setWindow(position - span / 2, position + span / 2);
  if (model.server[event] < 0 || shown.rowOf[model.server[event]] < 0) return;
  const y = yOf(event);
  if (y < AXIS_PX + state.rowHeight / 2) scrollTo(state.scroll + y - AXIS_PX - state.rowHeight / 2);
  if (y > state.height - state.rowHeight / 2) scrollTo(state.scroll + y - state.height + state.rowHeight / 2);
}

/** Changes filters or scale by `change` and keeps in sight what was in the middle. */
function rearrange(change) {
  const wasWhole = state.to - state.from >= (state.end - state.start) * 0.999;
  const middle = nearestTo((state.from + state.to) / 2);
  const share = (state.to - state.from) / (state.end - state.start);
  change();
  refresh();
  setSize(state.width, state.height);
  const half = ((state.end - state.start) * share) / 2;
  if (wasWhole || middle < 0) fit();
  else setWindow(shown.position[middle] - half, shown.position[middle] + half);
}

function nearestTo(position, events = shown.sorted) {
  const after = firstWhere(events, (event) => shown.position[event] >= position);
  const candidates = [events[after - 1], events[after]].filter((event) => event !== undefined);
  const distance = (event) => Math.abs(shown.position[event] - position);
  return candidates.sort((one, other) => distance(one) - distance(other))[0] ?? -1;
}

// Selecting and searching

function select(event) {
  state.selected = event;
  state.relations = event >= 0 && model.place[event] ? relationsTo(event) : null;
}

/** In small letters, what a search looks through; made when first wanted. */
let haystacks = null;

function search(query) {
  state.query = query.trim().toLowerCase();
  haystacks ??= model.at.map((_, event) => sentence(event).toLowerCase());
  const finds = (event) => shown.event[event] && haystacks[event].includes(state.query);
  state.matches = state.query ? [...model.order].filter(finds) : [];
  state.isMatch = state.query ? new Uint8Array(model.count) : null;
  for (const event of state.matches) state.isMatch[event] = 1;
}

/** The match that follows the selected event, or comes before it. */
function nextMatch(direction) {
  if (!state.matches.length) return -1;
  const here = state.selected >= 0 ? shown.position[state.selected] : direction > 0 ? -Infinity : Infinity;
  const ahead = (event) => (shown.position[event] - here) * direction > 0;
  const inOrder = direction > 0 ? state.matches : [...state.matches].reverse();
  return inOrder.find(ahead) ?? inOrder[0];
}

/** The event to which an arrow key leads from the selected one. */
function neighbour(key) {
  if (state.selected < 0) return nearestTo(state.from + (state.to - state.from) / 2);
  const row = shown.rowOf[model.server[state.selected]] ?? 0;
  const position = shown.position[state.selected];
  if (key === "ArrowUp" || key === "ArrowDown") {
    const step = key === "ArrowUp" ? -1 : 1;
    for (let other = row + step; shown.byRow[other]; other += step) {
      if (shown.byRow[other].length) return nearestTo(position, shown.byRow[other]);
    }
    return -1;
  }
  const line = shown.byRow[row] ?? shown.sorted;
  const number = line.indexOf(state.selected);
  return line[number + (key === "ArrowLeft" ? -1 : 1)] ?? -1;
}

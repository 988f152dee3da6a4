// The trace, its messages and its causes; and how events are put into words. Nothing here knows how it is drawn.

/** Events are named by their index, servers by theirs; -1 is none. */
const model = buildModel(JSON.parse(document.getElementById("trace").textContent));

function buildModel(data) {
  const count = data.at.length;
  const built = {
    ...data,
    count,
    server: Int32Array.from(data.server),
    type: data.type.map((number) => data.types[number]),
    peer: Int32Array.from(data.peer),
    kind: Int32Array.from(data.kind),
    cause: Int32Array.from(data.cause),
    dropped: Int32Array.from(data.dropped),
    /** The events of each server, in order; and of each event its place there, counted from 1 (0 for what happens to the network). */
    lines: data.servers.map(() => []),
    place: new Int32Array(count),
    /** Of each send that arrived, its receives. */
    receives: new Map(),
    oddity: new Map(data.oddities),
    first: count ? data.at[0] : 0,
    last: count ? data.at[count - 1] : 0,
  };
  for (let event = 0; event < count; event += 1) {
    if (built.server[event] >= 0 && built.type[event] !== "drop") {
      built.place[event] = built.lines[built.server[event]].push(event);
    }
    const send = built.cause[event];
    if (send >= 0) built.receives.set(send, [...(built.receives.get(send) ?? []), event]);
  }
  /** Drops that belong to a send; its arrow shows them. */
  built.isToldBySend = new Uint8Array(count);
  for (const drop of built.dropped) if (drop >= 0) built.isToldBySend[drop] = 1;
  built.partitions = joinPartitions(built);
  built.spans = findSpans(built);
  return built;
}

/** Two cuts that are each other's mirror, at the same time, are one that cuts both ways. */
function joinPartitions(built) {
  const joined = [];
  const same = (some, others) => some.length === others.length && some.every((server) => others.includes(server));
  const ascending = (servers) => [...servers].sort((one, other) => one - other);
  for (const found of built.partitions) {
    const cut = { ...found, from: ascending(found.from), to: ascending(found.to) };
    const mirror = joined.find(
      (other) =>
        !other.bothWays &&
        built.at[other.event] === built.at[cut.event] &&
        (other.heal < 0 ? cut.heal < 0 : cut.heal >= 0 && built.at[other.heal] === built.at[cut.heal]) &&
        same(other.from, cut.to) &&
        same(other.to, cut.from),
    );
    if (mirror) mirror.bothWays = true;
    else joined.push({ ...cut, bothWays: false });
  }
  return joined;
}

/** When a server was not running: {server, what, from, to}, where -1 is the beginning or the end of the trace. */
function findSpans(built) {
  const spans = [];
  built.lines.forEach((line, server) => {
    let open = built.type[line[0]] === "start" ? { server, what: "absent", from: -1 } : null;
    const close = (event) => {
      if (open) spans.push({ ...open, to: event });
      open = null;
    };
    for (const event of line) {
      const type = built.type[event];
      const what = { crash: "crashed", stop: "stopped", pause: "paused" }[type];
      if (what || type === "start" || (type === "resume" && open?.what === "paused")) close(event);
      if (what) open = { server, what, from: event };
    }
    close(-1);
  });
  return spans;
}

/** Whether the event is a send that nobody received. */
function isLost(event) {
  return model.type[event] === "send" && !model.receives.has(event);
}

/** The event's vector clock: of each server, how many events it knows of. A walk back over the receives in its past. */
function vectorOf(event) {
  const known = new Map();
  const waiting = model.place[event] ? [event] : [];
  while (waiting.length) {
    const reached = waiting.pop();
    const server = model.server[reached];
    const before = known.get(server) ?? 0;
    if (model.place[reached] <= before) continue;
    known.set(server, model.place[reached]);
    for (let place = before; place < model.place[reached]; place += 1) {
      const send = model.cause[model.lines[server][place]];
      if (send >= 0) waiting.push(send);
    }
  }
  return known;
}

/** Of each server, the place of the first event that `event` could have led to. The same walk, forward. */
function futureOf(event) {
  const reachedPlaces = new Map();
  const waiting = model.place[event] ? [event] : [];
  while (waiting.length) {
    const reached = waiting.pop();
    const server = model.server[reached];
    const before = reachedPlaces.get(server) ?? model.lines[server].length + 1;
    if (model.place[reached] >= before) continue;
    reachedPlaces.set(server, model.place[reached]);
    for (let place = model.place[reached]; place < before; place += 1) {
      waiting.push(...(model.receives.get(model.lines[server][place - 1]) ?? []));
    }
  }
  return reachedPlaces;
}

const UNRELATED = 0;
const SELF = 1;
const PAST = 2;
const FUTURE = 3;

/** What every event is to the one given. */
function relationsTo(event) {
  const relations = new Uint8Array(model.count);
  for (const [server, last] of vectorOf(event)) {
    for (let place = 0; place < last; place += 1) relations[model.lines[server][place]] = PAST;
  }
  for (const [server, first] of futureOf(event)) {
    for (let place = first - 1; place < model.lines[server].length; place += 1) {
      relations[model.lines[server][place]] = FUTURE;
    }
  }
  relations[event] = SELF;
  return relations;
}

/** The other end of a message: a send's first receive, or a receive's send; -1 where there is none. */
function partnerOf(event) {
  return model.type[event] === "send" ? (model.receives.get(event)?.[0] ?? -1) : model.cause[event];
}

// Words

function serverName(server) {
  return server >= 0 ? model.servers[server] : "the network";
}

/** A server's name in a sentence: a bare number could be taken for a count. */
function serverWord(server) {
  return /^\d+$/.test(serverName(server)) ? `server ${serverName(server)}` : serverName(server);
}

function kindName(event) {
  return model.kind[event] >= 0 ? model.kinds[model.kind[event]] : "";
}

/** What happened, without contents. */
function headline(event) {
  const peer = serverName(model.peer[event]);
  switch (model.type[event]) {
    case "send": return `sends ${kindName(event)} to ${peer}`;
    case "receive": return `receives ${kindName(event)} from ${peer}`;
    case "drop": return `a message to ${peer} is lost`;
    case "up": return `link to ${peer} comes up`;
    case "down": return `link to ${peer} goes down`;
    case "command": return "is told";
    case "answer": return "answers";
    case "note": return "notes";
    case "start": return "starts";
    case "crash": return "crashes";
    case "stop": return "stops";
    case "pause": return "pauses";
    case "resume": return "runs again";
    case "partition": return "partition";
    case "heal": return "partition healed";
    default: return model.type[event];
  }
}

function fullHeadline(event) {
  return model.server[event] >= 0 ? `${serverWord(model.server[event])} ${headline(event)}` : headline(event);
}

/** Why a message did not arrive, as far as the trace says it. */
function whyLost(send) {
  const drop = model.dropped[send];
  return drop >= 0 ? `lost: ${model.text[drop]}` : "it never arrived";
}

/** What happened, in one line. */
function sentence(event) {
  const text = model.text[event];
  const told = text ? `${fullHeadline(event)}: ${text}` : fullHeadline(event);
  return told + (isLost(event) ? ` (${whyLost(event)})` : "");
}

/** A time since the beginning of the trace, as fine as the span of the trace asks for. */
function timeText(ns, finest = 3) {
  const seconds = (ns - model.first) / 1e9;
  return `${seconds.toFixed(finest)} s`;
}

/** A duration with three digits or so. */
function durationText(ns) {
  const size = Math.abs(ns);
  if (size < 1e3) return `${ns} ns`;
  if (size < 1e6) return `${(ns / 1e3).toPrecision(3)} µs`;
  if (size < 1e9) return `${(ns / 1e6).toPrecision(3)} ms`;
  return `${(ns / 1e9).toPrecision(3)} s`;
}

/** A vector clock in one line; a long one is cut. */
function vectorText(vector, most = 12) {
  const entries = [...vector].sort(([one], [other]) => one - other);
  const shown = entries.slice(0, most).map(([server, count]) => `${serverName(server)}:${count}`);
  return shown.join("  ") + (entries.length > most ? `  and ${entries.length - most} more` : "");
}

function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

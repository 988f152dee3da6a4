// Everything beside the canvas: summary, filters, story, details, tooltip, list. What a trace holds is only ever set as text.

const PAGE_ROWS = 100;
const STORY_MAX = 80;
const listing = { page: 0, events: [] };

function byId(id) {
  return document.getElementById(id);
}

/** An element with properties and children; strings become text. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// Summary and filters

function fillSummary() {
  document.title = model.title || "Trace";
  byId("title").textContent = model.title || "Trace";
  const lost = model.type.filter((_, event) => isLost(event)).length;
  const crashes = model.type.filter((type) => type === "crash").length;
  const parts = [
    plural(model.servers.length, "server"),
    plural(model.count, "event"),
    `${durationText(model.last - model.first)}`,
    lost && make("b", {}, plural(lost, "message that never arrived", "messages that never arrived")),
    crashes && make("b", {}, plural(crashes, "crash", "crashes")),
    model.partitions.length && make("b", {}, plural(model.partitions.length, "partition")),
  ].filter(Boolean);
  byId("summary").replaceChildren(...parts.flatMap((part, number) => (number ? [" · ", part] : [part])));
}

function fillTypes(onChange) {
  const counts = new Map();
  for (const group of groupOf) counts.set(group, (counts.get(group) ?? 0) + 1);
  const kinds = model.kinds.map((kind, number) => ({ name: `kind:${kind}`, label: kind, colour: kindColours[number] }));
  for (const group of [...kinds, ...GROUPS]) {
    if (!counts.has(group.name)) continue;
    const count = make("small", {}, counts.get(group.name).toLocaleString("en"));
    const chip = make("button", { type: "button", className: "chip" }, make("i"), group.label, count);
    if (group.colour) chip.style.setProperty("--swatch", `var(--${group.colour})`);
    chip.dataset.group = group.name;
    chip.addEventListener("click", () => onChange(group.name));
    byId("types").append(chip);
  }
}

function fillServers(onChange) {
  const setAll = (hidden) => onChange(model.servers.map((_, server) => server), hidden);
  const all = make("button", { type: "button", onclick: () => setAll(false) }, "all");
  const none = make("button", { type: "button", onclick: () => setAll(true) }, "none");
  byId("servers").append(make("div", { className: "group" }, all, none));
  model.servers.forEach((name, server) => {
    const box = make("input", { type: "checkbox", checked: true });
    box.dataset.server = server;
    box.addEventListener("change", () => onChange([server], !box.checked));
    byId("servers").append(make("label", {}, box, name));
  });
}

/** Shows on the chips and boxes which filters are set. */
function showFilters() {
  for (const chip of byId("types").children) {
    const isOn = !state.hiddenGroups.has(chip.dataset.group);
    chip.setAttribute("aria-pressed", isOn);
    chip.title = isOn ? "Shown; click to hide" : "Hidden; click to show";
  }
  for (const box of byId("servers").querySelectorAll("input")) {
    box.checked = !state.hiddenServers.has(Number(box.dataset.server));
  }
  const [some, all] = [shown.rows.length, model.servers.length];
  byId("servers-summary").textContent = some === all ? `all ${plural(all, "server")}` : `${some} of ${plural(all, "server")}`;
  byId("empty").hidden = shown.sorted.length > 0;
  for (const scale of ["order", "time"]) byId(`scale-${scale}`).setAttribute("aria-checked", state.scale === scale);
}

function showSearch() {
  const { matches, query, selected } = state;
  const number = matches.indexOf(selected) + 1;
  const found = number ? `${number} of ${matches.length}` : plural(matches.length, "match", "matches");
  byId("search-count").textContent = query ? found : "";
  byId("search-previous").disabled = !matches.length;
  byId("search-next").disabled = !matches.length;
}

// The story: what went wrong, in the order in which it did

/** Entries as {event, mark, look, text}. */
function storyEntries() {
  const entries = [];
  const add = (event, mark, look, text) => entries.push({ event, mark, look, text });
  for (const cut of model.partitions) {
    add(cut.event, "✂", "cut", `Partition: ${captionOf(cut)}`);
    if (cut.heal >= 0) add(cut.heal, "✓", "calm", `Healed: ${captionOf(cut)}`);
  }
  for (const span of model.spans) {
    const name = serverWord(span.server);
    const for_ = span.from >= 0 && span.to >= 0 ? ` for ${durationText(model.at[span.to] - model.at[span.from])}` : "";
    if (span.what === "crashed") add(span.from, "✕", "crash", `${name} crashes`);
    if (span.what === "paused") add(span.from, "‖", "pause", `${name} pauses${for_}`);
    if (span.to >= 0 && span.what === "crashed") add(span.to, "▸", "calm", `${name} starts again`);
  }
  addLosses(add);
  for (const [event, what] of model.oddities) add(event, "!", "odd", `${serverWord(model.server[event])}: ${what}`);
  return entries.sort((one, other) => model.at[one.event] - model.at[other.event] || one.event - other.event);
}

/** Lost messages of the kinds that are shown; together where they were lost for one reason in one stretch of time. */
function addLosses(add) {
  const apart = Math.max((model.last - model.first) * 0.03, 1);
  const groups = [];
  const latest = new Map();
  for (let event = 0; event < model.count; event += 1) {
    if (!isLost(event) || state.hiddenGroups.has(groupOf[event])) continue;
    const why = model.dropped[event] >= 0 ? model.text[model.dropped[event]] : "";
    let group = latest.get(why);
    if (!group || model.at[event] - model.at[group.events.at(-1)] > apart) {
      group = { why, events: [] };
      latest.set(why, group);
      groups.push(group);
    }
    group.events.push(event);
  }
  for (const group of groups) add(group.events[0], "✕", "lost", lossText(group));
}

function lossText({ why, events: [first, ...others] }) {
  const names = (servers) => {
    const distinct = [...new Set(servers)].sort((one, other) => one - other);
    return distinct.length > 5 ? plural(distinct.length, "server") : distinct.map(serverName).join(", ");
  };
  const all = [first, ...others];
  const kinds = [...new Set(all.map(kindName))].join(", ");
  const what = others.length ? `${all.length} messages (${kinds})` : `A message (${kinds})`;
  const way = `from ${names(all.map((send) => model.server[send]))} to ${names(all.map((send) => model.peer[send]))}`;
  return `${what} ${way} never ${others.length ? "arrive" : "arrives"}${why ? `: ${why}` : ""}`;
}

function fillStory(onSelect) {
  const entries = storyEntries();
  const list = make("ol");
  for (const { event, mark, look, text } of entries.slice(0, STORY_MAX)) {
    const time = make("time", {}, timeText(model.at[event]));
    const parts = [make("span", { className: `mark ${look}`, ariaHidden: "true" }, mark), time, make("span", {}, text)];
    const button = make("button", { type: "button", onclick: () => onSelect(event) }, ...parts);
    button.dataset.event = event;
    list.append(make("li", {}, button));
  }
  const notes = [...model.remarks];
  if (entries.length > STORY_MAX) notes.push(`… and ${entries.length - STORY_MAX} more.`);
  if (!entries.length) notes.push("Nothing went wrong that the trace could know of: no crash, no partition, no lost message.");
  const said = notes.map((note) => make("p", { className: "note" }, note));
  byId("story").replaceChildren(make("h2", {}, "What went wrong"), list, ...said);
}

// Details of the selected event

function showDetails(onSelect) {
  const event = state.selected;
  for (const button of byId("story").querySelectorAll("button")) {
    button.setAttribute("aria-current", Number(button.dataset.event) === event);
  }
  byId("details").hidden = event < 0;
  if (event < 0) return;
  const heading = make("h2", {}, fullHeadline(event));
  const close = make("button", { type: "button", title: "Select nothing (Esc)", ariaLabel: "Close", onclick: () => onSelect(-1) }, "✕");
  const parts = [make("div", { className: "head" }, heading, close)];
  if (model.text[event]) parts.push(make("div", { className: "contents", tabIndex: 0 }, model.text[event]));
  const facts = make("dl");
  for (const [name, value] of factsOf(event)) facts.append(make("dt", {}, name), make("dd", {}, value));
  parts.push(facts);
  if (state.relations) parts.push(coneText());
  parts.push(stepButtons(event, onSelect));
  byId("details").replaceChildren(...parts);
  byId("side").scrollTop = 0;
}

/** Names and values. */
function factsOf(event) {
  const facts = [["time", timeText(model.at[event], 6)]];
  const partner = partnerOf(event);
  if (model.type[event] === "send") {
    const receives = model.receives.get(event) ?? [];
    for (const receive of receives) facts.push(["received", `${durationText(model.at[receive] - model.at[event])} later`]);
    if (!receives.length) facts.push(["received", `no, ${whyLost(event)}`]);
  } else if (partner >= 0) {
    facts.push(["sent", `${durationText(model.at[event] - model.at[partner])} before`]);
  }
  if (model.link[event] >= 0) facts.push(["link", model.links[model.link[event]]]);
  if (model.id[event]) facts.push(["id", model.id[event]]);
  if (model.place[event]) {
    facts.push(["Lamport", String(model.lamport[event])], ["vector", vectorText(vectorOf(event))]);
  }
  if (model.oddity.has(event)) facts.push(["odd", model.oddity.get(event)]);
  return facts;
}

function coneText() {
  const counts = [0, 0, 0, 0];
  model.place.forEach((place, event) => { if (place) counts[state.relations[event]] += 1; });
  const past = make("span", { className: "past" }, `${plural(counts[PAST], "event")} could have caused it`);
  const future = make("span", { className: "future" }, `it could have led to ${counts[FUTURE].toLocaleString("en")}`);
  return make("p", {}, past, ", ", future, `, ${counts[UNRELATED].toLocaleString("en")} had nothing to do with it.`);
}

function stepButtons(event, onSelect) {
  const line = model.lines[model.server[event]] ?? [];
  const place = model.place[event];
  const partner = partnerOf(event);
  const steps = [
    ["‹ before", place > 1 ? line[place - 2] : -1],
    [model.type[event] === "send" ? "to its receive" : "to its send", partner],
    ["after ›", place ? (line[place] ?? -1) : -1],
  ].filter(([, other]) => other >= 0);
  const buttons = steps.map(([word, other]) => make("button", { type: "button", onclick: () => onSelect(other) }, word));
  return make("div", { className: "steps" }, ...buttons);
}

// Tooltip

function showTooltip(event, x, y) {
  const tooltip = byId("tooltip");
  tooltip.hidden = event < 0;
  if (event < 0) return;
  const lines = [make("strong", {}, fullHeadline(event))];
  if (model.text[event]) lines.push(make("p", { className: "contents" }, shorten(model.text[event], 300)));
  const facts = factsOf(event).filter(([name]) => name !== "id" && name !== "link");
  for (const [name, value] of facts) lines.push(make("p", {}, `${name} ${value}`));
  tooltip.replaceChildren(...lines);
  const { width, height } = tooltip.getBoundingClientRect();
  const left = x + 16 + width > window.innerWidth ? x - width - 12 : x + 16;
  const top = Math.min(y + 14, window.innerHeight - height - 6);
  tooltip.style.left = `${Math.max(left, 4)}px`;
  tooltip.style.top = `${Math.max(top, 4)}px`;
}

// The list

/** Fills the list with what the filters show; with a search, with what it found. */
function fillList(onSelect) {
  listing.events = state.query ? state.matches : shown.sorted;
  const pages = Math.max(Math.ceil(listing.events.length / PAGE_ROWS), 1);
  listing.page = Math.min(Math.max(listing.page, 0), pages - 1);
  if (byId("list").hidden) return;
  byId("list-title").textContent = plural(listing.events.length, "event") + (state.query ? " found" : "");
  byId("list-page").textContent = `${listing.page + 1} of ${pages}`;
  byId("list-previous").disabled = listing.page === 0;
  byId("list-next").disabled = listing.page === pages - 1;
  const here = listing.events.slice(listing.page * PAGE_ROWS, (listing.page + 1) * PAGE_ROWS);
  byId("rows").replaceChildren(...here.map((event) => rowOfList(event, onSelect)));
}

function rowOfList(event, onSelect) {
  const name = make("button", { type: "button" }, headline(event));
  const contents = model.text[event] || (isLost(event) ? whyLost(event) : "");
  const cells = [timeText(model.at[event], 6), serverName(model.server[event]), name, shorten(contents, 300), model.lamport[event] || ""];
  const row = make("tr", { className: isLost(event) ? "lost" : "", onclick: () => onSelect(event) });
  row.append(...cells.map((cell) => make("td", {}, cell)));
  row.dataset.event = event;
  row.setAttribute("aria-selected", event === state.selected);
  return row;
}

/** Turns the list to the page of the selected event. */
function turnListToSelected() {
  const number = listing.events.indexOf(state.selected);
  if (number >= 0) listing.page = Math.floor(number / PAGE_ROWS);
}

function scrollListToSelected() {
  byId("rows").querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
}

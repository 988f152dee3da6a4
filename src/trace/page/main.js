// Puts everything together: what mouse, keyboard and buttons do, and when it is drawn again.

let isDrawingDue = false;

/** Draws before the next picture of the screen, however often it is asked for. */
function redraw() {
  if (isDrawingDue) return;
  isDrawingDue = true;
  requestAnimationFrame(() => {
    isDrawingDue = false;
    drawDiagram();
    drawOverview();
  });
}

/** Selects an event (-1: none) and shows it everywhere; `near` brings it close. */
function choose(event, near = false) {
  select(event);
  if (event >= 0) reveal(event, near);
  showDetails(choose);
  showSearch();
  turnListToSelected();
  fillList(choose);
  scrollListToSelected();
  byId("spoken").textContent = event >= 0 ? `${timeText(model.at[event])}: ${sentence(event)}` : "";
  redraw();
}

/** Shows what a change of filters or scale leads to. */
function change(how) {
  rearrange(how);
  search(state.query);
  showFilters();
  showSearch();
  fillStory((event) => choose(event, true));
  showDetails(choose);
  fillList(choose);
  redraw();
}

function toggle(set, entry, isIn = !set.has(entry)) {
  if (isIn) set.add(entry);
  else set.delete(entry);
}

const changeGroup = (group) => change(() => toggle(state.hiddenGroups, group));
const changeServers = (servers, hidden) => change(() => servers.forEach((server) => toggle(state.hiddenServers, server, hidden)));
const changeScale = (scale) => change(() => { state.scale = scale; });

function clearFilters() {
  change(() => {
    state.hiddenGroups.clear();
    state.hiddenServers.clear();
  });
}

function changeSearch() {
  search(byId("search").value);
  listing.page = 0;
  showSearch();
  fillList(choose);
  redraw();
}

function goToMatch(direction) {
  const match = nextMatch(direction);
  if (match >= 0) choose(match, true);
}

function toggleList(isOpen = byId("list").hidden) {
  byId("list").hidden = !isOpen;
  byId("list-toggle").setAttribute("aria-expanded", isOpen);
  turnListToSelected();
  fillList(choose);
  scrollListToSelected();
}

function turnList(pages) {
  listing.page += pages;
  fillList(choose);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = theme === "dark" ? "light" : "dark";
  readColours();
  redraw();
}

// Mouse and touch

/** The pointers that are down, and whether they have moved far enough to be no click. */
const pointers = new Map();
let hasMoved = false;

function onPointerDown(event) {
  canvas.setPointerCapture(event.pointerId);
  canvas.focus({ preventScroll: true });
  pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
  hasMoved = pointers.size > 1;
}

function onPointerMove(event) {
  const before = pointers.get(event.pointerId);
  if (!before) {
    hover(whatIsAt(event.offsetX, event.offsetY), event);
    return;
  }
  const here = { x: event.offsetX, y: event.offsetY };
  if (!hasMoved && Math.hypot(here.x - before.x, here.y - before.y) < 4) return;
  hasMoved = true;
  canvas.classList.add("moving");
  hover(-1, event);
  if (pointers.size === 2) pinch(event.pointerId, before, here);
  else pan(before.x - here.x);
  scrollTo(state.scroll + before.y - here.y);
  pointers.set(event.pointerId, here);
  redraw();
}

/** Two fingers zoom around the one that rests. */
function pinch(moving, before, here) {
  const [, resting] = [...pointers].find(([id]) => id !== moving);
  const [was, is] = [Math.abs(before.x - resting.x), Math.abs(here.x - resting.x)];
  if (was > 10 && is > 10) zoom(was / is, resting.x);
}

function onPointerUp(event) {
  if (pointers.delete(event.pointerId) && !hasMoved) choose(whatIsAt(event.offsetX, event.offsetY));
  canvas.classList.remove("moving");
}

function hover(event, { clientX, clientY }) {
  canvas.classList.toggle("over", event >= 0);
  showTooltip(event, clientX, clientY);
  if (state.hovered === event) return;
  state.hovered = event;
  redraw();
}

function onWheel(event) {
  event.preventDefault();
  const isSideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
  if (isSideways) pan(event.deltaX || event.deltaY);
  else if (event.altKey) scrollTo(state.scroll + event.deltaY);
  else zoom(1.0015 ** event.deltaY, event.offsetX);
  hover(-1, event);
  redraw();
}

function onOverviewPointer(event) {
  if (event.type === "pointerdown") overviewCanvas.setPointerCapture(event.pointerId);
  if (event.buttons === 0) return;
  overviewMove(event.offsetX);
  redraw();
}

// Keyboard

function zoomBy(factor) {
  zoom(factor);
  redraw();
}

function followMessage() {
  const partner = state.selected >= 0 ? partnerOf(state.selected) : -1;
  if (partner >= 0) choose(partner);
}

const CANVAS_KEYS = {
  Enter: followMessage,
  Home: () => choose(shown.sorted[0] ?? -1),
  End: () => choose(shown.sorted.at(-1) ?? -1),
};
for (const key of ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]) {
  CANVAS_KEYS[key] = () => {
    const next = neighbour(key);
    if (next >= 0) choose(next);
  };
}
const PAGE_KEYS = {
  "/": () => byId("search").focus(),
  "?": () => byId("help").showModal(),
  "+": () => zoomBy(0.6),
  "=": () => zoomBy(0.6),
  "-": () => zoomBy(1 / 0.6),
  0: () => { fit(); redraw(); },
  n: () => goToMatch(1),
  N: () => goToMatch(-1),
  l: () => toggleList(),
  t: () => changeScale(state.scale === "time" ? "order" : "time"),
  Escape: () => choose(-1),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  if (event.target.matches("input[type=search]")) return;
  const action = (event.target === canvas && CANVAS_KEYS[event.key]) || PAGE_KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

function onSearchKey(event) {
  if (event.key === "Enter") goToMatch(event.shiftKey ? -1 : 1);
  if (event.key === "Escape") canvas.focus();
}

// Start

function connect() {
  const click = (id, action) => byId(id).addEventListener("click", action);
  click("scale-order", () => changeScale("order"));
  click("scale-time", () => changeScale("time"));
  click("zoom-in", () => zoomBy(0.6));
  click("zoom-out", () => zoomBy(1 / 0.6));
  click("zoom-fit", PAGE_KEYS[0]);
  click("list-toggle", () => toggleList());
  click("list-previous", () => turnList(-1));
  click("list-next", () => turnList(1));
  click("theme", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  click("help-open", () => byId("help").showModal());
  click("filters-clear", clearFilters);
  click("search-next", () => goToMatch(1));
  click("search-previous", () => goToMatch(-1));
  byId("search").addEventListener("input", changeSearch);
  byId("search").addEventListener("keydown", onSearchKey);
  document.addEventListener("keydown", onKey);
  canvas.addEventListener("pointerdown", onPointerDown);
  canvas.addEventListener("pointermove", onPointerMove);
  canvas.addEventListener("pointerup", onPointerUp);
  canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", (event) => hover(-1, event));
  canvas.addEventListener("wheel", onWheel, { passive: false });
  for (const type of ["pointerdown", "pointermove"]) overviewCanvas.addEventListener(type, onOverviewPointer);
  new ResizeObserver(redraw).observe(byId("stage"));
}

function start() {
  // Heartbeats drown what one wants to see, unless there is nothing else.
  const isLoud = model.kinds.some((kind) => !QUIET_KINDS.includes(kind));
  for (const kind of model.kinds) if (isLoud && QUIET_KINDS.includes(kind)) state.hiddenGroups.add(`kind:${kind}`);
  fillSummary();
  fillTypes(changeGroup);
  fillServers(changeServers);
  connect();
  refresh();
  setSize(canvas.clientWidth, canvas.clientHeight);
  fit();
  change(() => {});
  setTheme(window.matchMedia?.("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  drawDiagram();
  drawOverview();
}

start();

/** For tests, and for the curious at the console. */
window.ovid = {
  model,
  state,
  shown,
  drawn,
  choose,
  change,
  changeGroup,
  changeServers,
  changeScale,
  toggleList,
  goToMatch,
  drawNow: () => { drawDiagram(); drawOverview(); },
  /** Where an event stands in the window, in pixels. */
  placeOf: (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    return { x: left + xOf(shown.position[event]), y: top + yOf(event) };
  },
  vector: (event) => [...vectorOf(event)].sort(([one], [other]) => one - other),
  past: () => relatedEvents(PAST),
  future: () => relatedEvents(FUTURE),
};

function relatedEvents(relation) {
  return model.order.filter((event) => state.relations?.[event] === relation).sort((one, other) => one - other);
}

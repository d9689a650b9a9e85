// Put the page together, and let it follow what the reader does.

const MOST_CHIPS = 12;

function choose(index) {
  state.chosen = index;
  markChosen();
  drawAll();
}

function refresh() {
  state.shown = ordered();
  showTable();
  showSamples();
  drawAll();
}

function drawAll() {
  drawBars();
  drawScatter();
  drawRadar();
  drawSpectra();
  drawNeighbours();
  tellChosen();
}

function makeFigures() {
  const list = document.getElementById("figures");
  for (const [label, text, detail] of data.figures) {
    list.append(element("div", {}, element("dt", { text: label }), element("dd", {}, text, element("span", { text: detail && ` ${detail}` }))));
  }
}

function makeNotices() {
  if (!data.notices.length) return;
  const list = document.querySelector("#notices ul");
  for (const { code, text, classes } of data.notices) {
    const item = element("li", { "data-code": code }, text);
    if (classes.length) {
      const chips = element("div", { class: "chips" }, ...classes.slice(0, MOST_CHIPS).map(classButton));
      if (classes.length > MOST_CHIPS) chips.append(element("span", { text: `and ${(classes.length - MOST_CHIPS).toLocaleString("en")} more` }));
      item.append(chips);
    }
    list.append(item);
  }
  document.getElementById("notices").hidden = false;
}

function makeSource(id, lines) {
  const body = document.querySelector(`#${id} tbody`);
  for (const [key, text] of lines) body.append(element("tr", {}, element("th", { scope: "row", text: key }), element("td", { text })));
}

function makeControls() {
  const filter = document.getElementById("filter");
  filter.addEventListener("input", () => { state.filter = filter.value; refresh(); });
  const choice = document.getElementById("choice");
  data.classes.forEach((name, index) => choice.append(element("option", { value: index, text: name })));
  choice.addEventListener("change", () => choose(Number(choice.value)));
  const scale = document.getElementById("scale");
  const scales = data.columns.filter(({ key }) => key === "scale" || /bits/.test(columns[key].meaning) && !["low", "high"].includes(key));
  scales.forEach(({ key, label }) => scale.append(element("option", { value: key, text: label })));
  scale.addEventListener("change", () => { state.scale = scale.value; drawAll(); });
  document.getElementById("scale-label").hidden = scales.length < 2;
  for (const id of ["bars", "scatter", "radar"]) withArrowKeys(document.getElementById(id));
  document.getElementById("theme").addEventListener("click", () => useTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(drawAll, 100); });
}

function withArrowKeys(place) {
  place.tabIndex = 0;
  place.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!step || !state.shown.length) return;
    event.preventDefault();
    const now = state.shown.indexOf(state.chosen);
    choose(state.shown[Math.max(0, Math.min(state.shown.length - 1, now + step))]);
  });
}

function useTheme(name) {
  document.documentElement.dataset.theme = name;
  document.getElementById("theme").textContent = name === "dark" ? "Light colours" : "Dark colours";
}

// The address may say how to open the page: #sort=scale&order=descending&filter=cat&class=3&theme=dark
function useAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  if (wanted.get("sort") in columns || wanted.get("sort") === "class") state.sort = wanted.get("sort");
  state.descending = wanted.get("order") === "descending";
  state.filter = document.getElementById("filter").value = wanted.get("filter") || "";
  const dark = wanted.get("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  useTheme(dark === "dark" ? "dark" : "light");
  const index = Number(wanted.get("class"));
  state.chosen = wanted.has("class") && index >= 0 && index < numClasses ? index : ordered()[0] || 0;
}

addEventListener("error", (event) => {
  const failure = document.getElementById("failure");
  failure.textContent = `Part of this page could not be drawn: ${event.message}`;
  failure.hidden = false;
  document.documentElement.dataset.error = event.message;
});
makeFigures();
makeNotices();
makeTable();
makePairs();
makeSamples();
makeSource("about", data.about);
makeSource("source", data.source);
makeDownload();
makeControls();
useAddress();
markChosen();
refresh();
document.documentElement.dataset.ready = "true";

// The table: made once, then sorted and filtered by moving its rows.

const rows = [];

function makeTable() {
  const head = document.querySelector("#table thead tr");
  const heads = [{ key: "class", label: "class", meaning: "name of the class" }, ...data.columns];
  for (const { key, label, meaning } of heads) {
    const button = element("button", { type: "button", text: label, title: `${meaning}; press to sort`, onclick: () => sortBy(key) });
    head.append(element("th", { scope: "col", "data-key": key }, button));
  }
  const most = Object.fromEntries(["scale", "imbalance"].map((key) => [key, largest(columns[key].values)]));
  for (let index = 0; index < numClasses; index += 1) rows.push(makeRow(index, most));
}

function makeRow(index, most) {
  const row = element("tr", { "data-class": index }, element("th", { scope: "row" }, classButton(index)));
  for (const column of data.columns) {
    const value = column.values[index];
    const cell = element("td", { text: format(value, column.digits) });
    if (!isNumber(value)) cell.className = "missing";
    else if (most[column.key] > 0) {
      cell.className = "bar";
      cell.style.setProperty("--share", `${(100 * value) / most[column.key]}%`);
    }
    row.append(cell);
  }
  return row;
}

// A second press turns the order round. Undefined values come last either way.
function sortBy(key) {
  state.descending = state.sort === key ? !state.descending : key !== "class" && key !== "imbalance" && key !== "scale";
  state.sort = key;
  refresh();
}

function ordered() {
  const wanted = state.filter.trim().toLowerCase();
  const found = [];
  for (let index = 0; index < numClasses; index += 1) {
    if (data.classes[index].toLowerCase().includes(wanted)) found.push(index);
  }
  const sign = state.descending ? -1 : 1;
  const names = new Intl.Collator("en", { numeric: true });
  return found.sort((one, other) => {
    if (state.sort === "class") return sign * names.compare(data.classes[one], data.classes[other]) || one - other;
    const [first, second] = [valueOf(state.sort, one), valueOf(state.sort, other)];
    if (!isNumber(first) || !isNumber(second)) return isNumber(second) - isNumber(first) || one - other;
    return sign * (first - second) || one - other;
  });
}

function showTable() {
  document.querySelector("#table tbody").replaceChildren(...state.shown.map((index) => rows[index]));
  for (const head of document.querySelectorAll("#table thead th")) {
    if (head.dataset.key === state.sort) head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  const count = state.shown.length === numClasses ? `${numClasses.toLocaleString("en")}` : `${state.shown.length} of ${numClasses.toLocaleString("en")}`;
  document.getElementById("shown").textContent = `${count} ${numClasses === 1 ? "class" : "classes"}`;
}

function markChosen() {
  for (const row of rows) {
    const chosen = Number(row.dataset.class) === state.chosen;
    row.classList.toggle("chosen", chosen);
    row.querySelector("button").setAttribute("aria-pressed", chosen);
  }
}

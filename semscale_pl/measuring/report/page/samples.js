// Single samples: the most typical and the most distant of each class, and pairs that are nearly equal.

const strips = [];

const nameOf = (row) => data.samples.names[row] || `row ${row.toLocaleString("en")}`;

// A picture of a sample, or its name where there is none; either says of which row and class it is.
function sample(row, index, role) {
  const address = data.samples.pictures[row], told = `${data.classes[index]}, ${role}: ${nameOf(row)}`;
  if (!address) return element("span", { class: "row", title: told, text: shorten(nameOf(row), 40) });
  return element("img", { src: address, alt: told, title: told });
}

function makeSamples() {
  if (!data.samples) return;
  for (const [index, typical, distant] of data.samples.strips) {
    const part = (rows, role) => element("td", {}, ...(rows.length ? rows.map((row) => sample(row, index, role)) : ["n/a"]));
    const head = element("th", { scope: "row" }, classButton(index));
    strips[index] = element("tr", {}, head, part(typical, "near the centre"), part(distant, "far from the centre"));
  }
  const shown = data.samples.strips.length;
  if (shown < data.samples.classes) {
    document.getElementById("strips-shown").textContent = `The ${shown.toLocaleString("en")} classes of smallest S, of ${data.samples.classes.toLocaleString("en")}, have their samples here.`;
  }
  document.getElementById("equal-text").textContent = data.samples.equal;
  const list = document.querySelector("#equal ol");
  for (const [first, second, one, other, distance] of data.samples.pairs) {
    const names = one === other ? [classButton(one)] : [classButton(one), " and ", classButton(other)];
    const text = distance === 0 ? "exact copies" : `${short(distance)} apart`;
    list.append(element("li", {}, sample(first, one, "nearly equal"), sample(second, other, "nearly equal"), element("span", {}, ...names, `, ${text} `, element("span", { class: "faint", text: `${nameOf(first)}, ${nameOf(second)}` }))));
  }
  document.getElementById("samples").hidden = document.getElementById("equal").hidden = false;
}

// The strips follow the table: its order, and what it finds.
function showSamples() {
  if (!data.samples) return;
  document.querySelector("#strips tbody").replaceChildren(...state.shown.filter((index) => strips[index]).map((index) => strips[index]));
}

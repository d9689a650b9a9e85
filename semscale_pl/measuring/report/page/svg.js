// Drawing: elements, scales, axes, and the frame that all plots share.

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") made.textContent = value;
    else made.setAttribute(key, isNumber(value) ? Number(value.toFixed(2)) : value);
  }
  made.append(...children);
  return made;
}

// Empty the plot's place and put a drawing as wide as the place there.
function canvas(id, height, label) {
  const place = document.getElementById(id);
  const width = Math.max(280, place.clientWidth);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  place.replaceChildren(drawing);
  return { drawing, width };
}

function nothing(id, text) {
  document.getElementById(id).replaceChildren(element("p", { class: "empty", text }));
}

const linear = (from, to, start, end) => (value) => start + ((value - from) / (to - from || 1)) * (end - start);

function logarithmic(from, to, start, end) {
  const place = linear(Math.log10(from), Math.log10(to), start, end);
  return (value) => place(Math.log10(value));
}

// About `number` round values that cover 0 to `most`.
function ticks(most, number = 5) {
  if (!(most > 0)) return [0, 1];
  const rough = most / number;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough);
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, place) => place * step);
}

// Powers of ten from below the smallest to above the largest, thinned out.
function powers(least, most) {
  const first = Math.floor(Math.log10(least) + 1e-9), last = Math.max(first + 1, Math.ceil(Math.log10(most) - 1e-9));
  const step = Math.ceil((last - first) / 6);
  const found = [];
  for (let power = first; power < last + step; power += step) found.push(10 ** power);
  return found;
}

// Round values within a logarithmic axis: powers of ten, with more between them the shorter the axis is.
function between(least, most) {
  const share = most / least;
  const factors = share > 300 ? [1] : share > 8 ? [1, 2, 5] : share > 3 ? [1, 1.5, 2, 3, 5, 7]
    : [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9];
  const found = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most); power += 1) {
    found.push(...factors.map((factor) => factor * 10 ** power));
  }
  return found.filter((value) => value >= least && value <= most);
}

function horizontalGrid(drawing, values, place, left, right) {
  for (const value of values) {
    drawing.append(svg("line", { class: "grid", x1: left, x2: right, y1: place(value), y2: place(value) }));
    drawing.append(svg("text", { class: "faint", x: left - 6, y: place(value) + 4, "text-anchor": "end", text: short(value) }));
  }
}

function verticalLabel(drawing, text, x, y) {
  drawing.append(svg("text", { x, y, transform: `rotate(-90 ${x} ${y})`, "text-anchor": "middle", text }));
}

// Entries of [class, text] in one row, each behind a piece of its line.
function legend(drawing, entries, left, top) {
  let x = left;
  for (const [style, text] of entries) {
    const sample = style === "band" ? svg("rect", { class: style, x, y: top - 9, width: 24, height: 10 })
      : svg("line", { class: style, x1: x, x2: x + 24, y1: top - 4, y2: top - 4 });
    drawing.append(sample, svg("text", { x: x + 29, y: top, text }));
    x += 29 + text.length * 6.6 + 20;
  }
}

// What a mark says when the pointer rests on it.
const told = (index) => svg("title", {
  text: `${data.classes[index]}\nn ${shownValue("count", index)}, ${columns[state.scale].label} ${shownValue(state.scale, index)} bits, S ${shownValue("imbalance", index)}`,
});

function chooseable(mark, index) {
  mark.append(told(index));
  mark.addEventListener("click", () => choose(index));
  return mark;
}
const styleOf = (base, index) => `${base} mark${index === state.chosen ? " chosen" : ""}`;

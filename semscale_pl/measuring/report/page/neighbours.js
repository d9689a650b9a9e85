// The classes nearest to the chosen one, the pairs nearest of all, and the chosen class in a sentence.

function drawNeighbours() {
  const near = data.nearest[state.chosen].map((other, rank) => [other, data.distances[state.chosen][rank]]).filter(([other, distance]) => other >= 0 && isNumber(distance));
  if (!near.length) return nothing("neighbours", "There is no other class with a centre.");
  if (near.length === 1) return nothing("neighbours", `The only other class, ${data.classes[near[0][0]]}, lies ${threeDigits(near[0][1])} away.`);
  const line = 34, top = 8, name = 130, foot = 40;
  const { drawing, width } = canvas("neighbours", top + line * near.length + foot, `Classes nearest to ${data.classes[state.chosen]}`);
  const far = ticks(largest(near.map(([, distance]) => distance)), 4);
  const x = linear(0, far.at(-1), name, width - 50);
  for (const value of far) {
    drawing.append(svg("line", { class: "grid", x1: x(value), x2: x(value), y1: top, y2: top + line * near.length }));
    drawing.append(svg("text", { class: "faint", x: x(value), y: top + line * near.length + 16, "text-anchor": "middle", text: short(value) }));
  }
  near.forEach(([other, distance], rank) => {
    const y = top + rank * line;
    const label = svg("text", { class: "name mark", x: name - 8, y: y + line / 2 + 4, "text-anchor": "end", text: shorten(data.classes[other], 18) });
    const bar = svg("rect", { class: "main mark", x: name, y: y + 7, width: Math.max(1, x(distance) - name), height: line - 14 });
    drawing.append(chooseable(label, other), chooseable(bar, other));
    drawing.append(svg("text", { x: x(distance) + 6, y: y + line / 2 + 4, text: threeDigits(distance) }));
  });
  drawing.append(svg("text", { x: (name + width - 50) / 2, y: top + line * near.length + 34, "text-anchor": "middle", text: "distance between the centres" }));
}

function tellChosen() {
  const [index, parts] = [state.chosen, []];
  const own = valueOf("scale", index);
  parts.push(` has ${shownValue("count", index)} sample${valueOf("count", index) === 1 ? "" : "s"} and a semantic scale of ${shownValue("scale", index)}${isNumber(own) ? " bits" : ""}`);
  if (data.intervals && data.intervals[index].every(isNumber)) parts.push(` (interval ${data.intervals[index].map((end) => format(end, 2)).join(" to ")})`);
  parts.push(`; W ${shownValue("weight", index)}, S ${shownValue("imbalance", index)}, suggested weight ${shownValue("suggested", index)}.`);
  const ranks = [["count", "n"], ["scale", "S′"], ["imbalance", "S"]].map(([key, label]) => rankOf(key, label, index)).filter(Boolean);
  if (ranks.length) parts.push(` Among all classes: ${ranks.join("; ")}.`);
  document.getElementById("chosen-text").replaceChildren(element("strong", { text: data.classes[index] }), parts.join(""));
  document.getElementById("choice").value = String(index);
}

// Where a class stands by one of its numbers, and among how many.
function rankOf(key, label, index) {
  const known = columns[key].values.filter(isNumber), own = valueOf(key, index);
  if (!isNumber(own) || known.length < 2) return "";
  const before = known.filter((value) => value > own).length, ties = known.filter((value) => value === own).length - 1;
  return `${label} ranks ${1 + before} of ${known.length.toLocaleString("en")} (1 is the largest ${label}${ties ? `; ${ties.toLocaleString("en")} more have the same` : ""})`;
}

function makePairs() {
  if (!data.pairs.length) return;
  const list = document.querySelector("#pairs ol");
  for (const [one, other, distance] of data.pairs) list.append(element("li", {}, classButton(one), " and ", classButton(other), ` (${threeDigits(distance)})`));
  document.getElementById("pairs").hidden = false;
}

// One point a class: its count, and its scale with the interval.

const MOST_LABELS = 30;

function drawScatter() {
  const shown = state.shown.filter((index) => valueOf("count", index) > 0 && isNumber(valueOf(state.scale, index)));
  if (!shown.length) return nothing("scatter", "None of these classes has a scale.");
  if (shown.length === 1) return nothing("scatter", `Only ${data.classes[shown[0]]} has a scale here: ${shownValue(state.scale, shown[0])} bits of ${shownValue("count", shown[0])} samples. One point shows nothing of the scale against the count.`);
  if (oneValue(shown.map((index) => valueOf("count", index)))) return nothing("scatter", `All these classes have ${shownValue("count", shown[0])} samples each: the points would stand on one vertical line. The bars above compare the scales.`);
  const top = 12, bottom = 318, left = 62;
  const { drawing, width } = canvas("scatter", 360, "Semantic scale of each class against its number of samples");
  const right = width - 14;
  const counts = shown.map((index) => valueOf("count", index));
  const [least, most] = [Math.min(...counts) / 1.25, Math.max(...counts) * 1.25];
  const x = logarithmic(least, most, left, right);
  const intervals = state.scale === "scale" ? data.intervals : null;
  const scaleTicks = ticks(largest(shown.flatMap((index) => [valueOf(state.scale, index), intervals && intervals[index][1]])));
  const y = linear(0, scaleTicks.at(-1), bottom, top);
  horizontalGrid(drawing, scaleTicks, y, left, right);
  for (const tick of between(least, most)) {
    drawing.append(svg("line", { class: "grid", x1: x(tick), x2: x(tick), y1: top, y2: bottom }));
    drawing.append(svg("text", { class: "faint", x: x(tick), y: bottom + 17, "text-anchor": "middle", text: short(tick) }));
  }
  drawing.append(svg("text", { x: (left + right) / 2, y: bottom + 36, "text-anchor": "middle", text: "samples n (logarithmic)" }));
  verticalLabel(drawing, `${columns[state.scale].label} (bits)`, 13, (top + bottom) / 2);

  // The chosen class last, on top of the others.
  for (const index of [...shown].sort((one, other) => (one === state.chosen) - (other === state.chosen))) {
    const [cx, cy] = [x(valueOf("count", index)), y(valueOf(state.scale, index))];
    if (intervals && shown.length <= MOST_WHISKERS && intervals[index].every(isNumber)) whisker(drawing, cx, y(intervals[index][0]), y(intervals[index][1]));
    const r = index === state.chosen ? 6.5 : shown.length > 200 ? 3 : 5;
    drawing.append(chooseable(svg("circle", { class: styleOf("main", index), cx, cy, r }), index));
    if (index === state.chosen || shown.length <= MOST_LABELS) labelPoint(drawing, index, cx, cy, right);
  }
}

function labelPoint(drawing, index, cx, cy, right) {
  const text = shorten(data.classes[index], 17), end = cx + 10 + text.length * 6.5 > right;
  drawing.append(svg("text", { class: `name${index === state.chosen ? " chosen" : ""}`, x: cx + (end ? -9 : 9), y: cy + 4, "text-anchor": end ? "end" : "start", text }));
}

// Bars of the scale above bars of the count, over the same classes.

const MOST_NAMES = 60;
const MOST_WHISKERS = 120;

function drawBars() {
  const shown = state.shown;
  if (!shown.length) return nothing("bars", "No class has this in its name.");
  if (shown.length === 1) return nothing("bars", `Only ${data.classes[shown[0]]} is shown: ${shownValue(state.scale, shown[0])} bits of ${shownValue("count", shown[0])} samples. One bar compares nothing.`);
  const same = ["count", state.scale].filter((key) => shown.length && oneValue(shown.map((index) => valueOf(key, index))));
  document.getElementById("bars-note").textContent = same.map((key) => `All these classes have the same ${columns[key].label}, ${shownValue(key, shown[0])}.`).join(" ");
  const named = shown.length <= MOST_NAMES;
  const top = 14, upper = 190, gap = 16, lower = 110, left = 62;
  const longest = Math.max(...shown.map((index) => Math.min(17, data.classes[index].length)));
  const foot = !named ? 30 : longest <= 3 ? 22 : 18 + longest * 4.6;
  const { drawing, width } = canvas("bars", top + upper + gap + lower + foot, "Bars of the semantic scale and of the number of samples of each class");
  const right = width - 8, step = (right - left) / shown.length, bar = step > 4 ? step * 0.82 : step;

  const ends = data.intervals && state.scale === "scale" ? data.intervals.map((pair) => pair[1]) : [];
  const scaleTicks = ticks(largest([...shown.map((index) => valueOf(state.scale, index)), ...shown.map((index) => ends[index])]));
  const scale = linear(0, scaleTicks.at(-1), top + upper, top);
  const countTicks = powers(1, Math.max(2, largest(shown.map((index) => valueOf("count", index)))));
  const bottom = top + upper + gap + lower;
  // Half a sample at the foot: a single one still shows.
  const count = logarithmic(0.5, countTicks.at(-1), bottom, top + upper + gap);
  horizontalGrid(drawing, scaleTicks, scale, left, right);
  horizontalGrid(drawing, countTicks, count, left, right);
  verticalLabel(drawing, `${columns[state.scale].label} (bits)`, 13, top + upper / 2);
  verticalLabel(drawing, "samples n", 13, bottom - lower / 2);

  shown.forEach((index, place) => {
    const x = left + place * step + (step - bar) / 2;
    const pillar = (value, y, foot, style) => isNumber(value) && foot - y > 0
      ? drawing.append(chooseable(svg("rect", { class: styleOf(style, index), x, width: index === state.chosen ? Math.max(3, bar) : bar, y, height: foot - y }), index)) : undefined;
    pillar(valueOf(state.scale, index), scale(valueOf(state.scale, index)), top + upper, "main");
    if (valueOf("count", index) > 0) pillar(1, count(valueOf("count", index)), bottom, "count");
    if (named) nameBar(drawing, index, x + bar / 2, bottom + 10, longest > 3);
  });
  if (ends.length && shown.length <= MOST_WHISKERS) shown.forEach((index, place) => {
    const [low, high] = data.intervals[index];
    if (isNumber(low) && isNumber(high)) whisker(drawing, left + (place + 0.5) * step, scale(low), scale(high));
  });
  if (!named) drawing.append(svg("text", { class: "faint", x: (left + right) / 2, y: bottom + 20, "text-anchor": "middle", text: `${shown.length.toLocaleString("en")} classes in the order of the table` }));
}

function nameBar(drawing, index, x, y, slanted) {
  const style = `name${index === state.chosen ? " chosen" : ""}`;
  const turn = slanted ? { transform: `rotate(-45 ${x} ${y})`, "text-anchor": "end" } : { "text-anchor": "middle" };
  drawing.append(svg("text", { class: style, x, y, ...turn, "dominant-baseline": "middle", text: shorten(data.classes[index], 17) }));
}

function whisker(drawing, x, low, high) {
  drawing.append(svg("path", { class: "whisker", d: `M${x - 3} ${high}h6m-3 0V${low}m-3 0h6` }));
}

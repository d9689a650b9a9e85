// One axis a class in the order of their numbers; all quantities as shares of their largest value, so that a circle is a balanced dataset.

const MOST_SPOKES = 40;
const MOST_TOLD = 1000;

function drawRadar() {
  // In a fixed order, so that two pages of the same classes can be laid side by side.
  const shown = [...state.shown].sort((one, other) => one - other);
  if (shown.length < 3) return nothing("radar", "A radar plot needs three classes or more.");
  if (["imbalance", state.scale, "count"].every((key) => oneValue(shown.map((index) => valueOf(key, index))))) {
    return nothing("radar", "S, the scale and n are the same in all these classes: the radar plot would be three circles.");
  }
  const { drawing, width } = canvas("radar", 375, "Radar plot of S, of the semantic scale and of the number of samples, one axis a class");
  const centre = [width / 2, 200], radius = Math.min(146, width / 2 - 80), thin = shown.length > 200 ? " thin" : "";
  const share = (key) => {
    const most = key === "imbalance" ? 1 : largest(columns[key].values);
    return (index) => (isNumber(valueOf(key, index)) && most > 0 ? Math.min(1, valueOf(key, index) / most) : 0);
  };
  const point = (place, part) => {
    const angle = (2 * Math.PI * place) / shown.length - Math.PI / 2;
    return [centre[0] + radius * part * Math.cos(angle), centre[1] + radius * part * Math.sin(angle)];
  };
  const outline = (part) => shown.map((index, place) => point(place, part(index)).map((at) => at.toFixed(1)).join(" "));

  for (const part of [0.25, 0.5, 0.75, 1]) {
    drawing.append(svg("circle", { class: "grid", cx: centre[0], cy: centre[1], r: radius * part, "fill-opacity": 0 }));
  }
  spokes(drawing, shown, point, centre);
  const rings = [["area", "imbalance"], ["line-second", state.scale], ["line-main", "imbalance"], ["line-count", "count"]];
  for (const [style, key] of rings) drawing.append(svg("path", { class: style + thin, d: `M${outline(share(key)).join("L")}Z` }));
  if (shown.length <= MOST_TOLD) shown.forEach((index, place) => {
    const [cx, cy] = point(place, share("imbalance")(index));
    drawing.append(chooseable(svg("circle", { class: "told mark", cx, cy, r: 6 }), index));
  });
  const place = shown.indexOf(state.chosen);
  if (place >= 0) {
    const [cx, cy] = point(place, share("imbalance")(state.chosen));
    drawing.append(chooseable(svg("circle", { class: styleOf("main", state.chosen), cx, cy, r: 5 }), state.chosen));
  }
  // Between the first two axes, where no name stands.
  for (const part of [0.5, 1]) {
    const [x, y] = point(shown.length > MOST_SPOKES ? shown.length / 24 : 0.5, part);
    drawing.append(svg("text", { class: "name faint", x: x + 3, y: y - 3, text: String(part) }));
  }
  legend(drawing, [["line-main", "S"], ["line-second", `${columns[state.scale].label} / max`], ["line-count", "n / max"]], Math.max(0, width / 2 - 130), 12);
}

function spokes(drawing, shown, point, centre) {
  const every = Math.ceil(shown.length / 24);
  shown.forEach((index, place) => {
    const chosen = index === state.chosen;
    if (shown.length <= MOST_SPOKES || chosen) {
      const [x2, y2] = point(place, 1);
      drawing.append(svg("line", { class: "grid", x1: centre[0], y1: centre[1], x2, y2 }));
    }
    if ((place % every !== 0 || shown.length > MOST_SPOKES) && !chosen) return;
    const [x, y] = point(place, 1.06);
    const side = x > centre[0] + 4 ? "start" : x < centre[0] - 4 ? "end" : "middle";
    const label = svg("text", { class: `name mark${chosen ? " chosen" : ""}`, x, y: y + (y > centre[1] ? 9 : 1), "text-anchor": side, text: shorten(data.classes[index], 11) });
    drawing.append(chooseable(label, index));
  });
}

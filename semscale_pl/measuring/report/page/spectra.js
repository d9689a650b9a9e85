// The chosen class's eigenvalues against what is usual among all classes.

function drawSpectra() {
  const own = data.spectra[state.chosen];
  const all = data.band;
  const most = largest([...own, ...all.map((triple) => triple[2])]);
  if (!(most > 0)) return nothing("spectra", "No class varies in any direction.");
  if (data.band.length === 1) return nothing("spectra", `No class varies in more than one direction: the variance of ${data.classes[state.chosen]} is ${own.length ? threeDigits(own[0]) : "not defined"}.`);
  // Round-off of a class of low rank lies far below; it would stretch the axis.
  const floor = most * 1e-6;
  const above = (values) => values.filter((value) => value > floor);
  const visible = above([...own, ...all.flat()]);
  const levels = powers(Math.min(most, ...visible), most);
  const top = 30, bottom = 300, left = 62, height = 345;
  const { drawing, width } = canvas("spectra", height, `Eigenvalues of the covariance of class ${data.classes[state.chosen]} beside the median of all classes`);
  const right = width - 10, last = Math.max(2, data.band.length);
  const x = linear(1, last, left, right), place = logarithmic(levels[0], levels.at(-1), bottom, top);
  const y = (value) => place(Math.max(value, levels[0]));
  const line = (values) => values.map((value, rank) => `${x(rank + 1).toFixed(1)} ${y(value).toFixed(1)}`);

  horizontalGrid(drawing, levels, place, left, right);
  for (const rank of new Set([1, ...ticks(last, 5).filter((value) => value > 0 && value <= last && Number.isInteger(value))])) {
    drawing.append(svg("text", { class: "faint", x: x(rank), y: bottom + 17, "text-anchor": "middle", text: String(rank) }));
  }
  const high = line(all.map((triple) => triple[2])), low = line(all.map((triple) => triple[0])).reverse();
  drawing.append(svg("path", { class: "band", d: `M${[...high, ...low].join("L")}Z` }));
  drawing.append(svg("path", { class: "line-count", d: `M${line(above(all.map((triple) => triple[1]))).join("L")}` }));
  above(own).forEach((value, rank) => drawing.append(svg("circle", { class: "told", cx: x(rank + 1), cy: y(value), r: 5 },
    svg("title", { text: `direction ${rank + 1} of ${data.classes[state.chosen]}: eigenvalue ${threeDigits(value)}, median of all classes ${rank < all.length ? threeDigits(all[rank][1]) : "n/a"}` }))));
  drawing.append(svg("path", { class: "line-chosen", d: above(own).length ? `M${line(above(own)).join("L")}` : "" }));
  if (above(own).length === 1) drawing.append(svg("circle", { class: "chosen", cx: x(1), cy: y(own[0]), r: 4 }));
  if (!above(own).length) drawing.append(svg("text", { class: "name chosen", x: (left + right) / 2, y: 60, "text-anchor": "middle", text: "This class varies in no direction." }));
  verticalLabel(drawing, "eigenvalue (logarithmic)", 13, (top + bottom) / 2);
  drawing.append(svg("text", { x: (left + right) / 2, y: bottom + 36, "text-anchor": "middle", text: "direction, by its variance" }));
  legend(drawing, [["line-chosen", shorten(data.classes[state.chosen], 14)], ["line-count", "median"], ["band", "10 to 90 % of classes"]], left, 12);
}

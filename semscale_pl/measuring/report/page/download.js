// The table as a CSV file: the rows and the order that are shown.

// A cell that a comma, a quote or a line break would tear apart stands in quotes.
const csvCell = (value) => {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

function csvText() {
  const lines = [["class", ...data.columns.map((column) => column.name)]];
  for (const index of state.shown) lines.push([data.classes[index], ...data.columns.map((column) => column.values[index])]);
  return lines.map((line) => line.map(csvCell).join(",") + "\n").join("");
}

function makeDownload() {
  document.getElementById("download").addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([csvText()], { type: "text/csv" }));
    element("a", { href: address, download: "scales.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });
}

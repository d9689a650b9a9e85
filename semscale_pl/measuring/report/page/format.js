// Numbers as people read them, and elements whose text is never taken for markup.

const data = JSON.parse(document.getElementById("data").textContent);
const numClasses = data.classes.length;
const columns = Object.fromEntries(data.columns.map((column) => [column.key, column]));
// What the reader has chosen; everything on the page is a function of it.
const state = { sort: "imbalance", descending: false, filter: "", chosen: 0, scale: "scale", shown: [] };

const isNumber = (value) => typeof value === "number";

function format(value, digits) {
  if (!isNumber(value)) return "n/a";
  if (value !== 0 && Math.abs(value) < 0.5 * 10 ** -digits) return value.toExponential(1);
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// Whether numbers, apart from undefined ones, are all the same.
function oneValue(values) {
  const known = values.filter(isNumber);
  return known.every((value) => value === known[0]);
}

// A few digits of any size, for the axes.
function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(0).replace("e+", "e");
  return String(Number(value.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 6 }));
}

const threeDigits = (value) => (value >= 1e-3 && value < 1e3 ? value.toPrecision(3) : short(value));
const valueOf = (key, index) => columns[key].values[index];
const shownValue = (key, index) => format(valueOf(key, index), columns[key].digits);
const largest = (values) => values.reduce((most, value) => (isNumber(value) && value > most ? value : most), 0);

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "onclick") made.addEventListener("click", value);
    else if (key === "class") made.className = value;
    else if (key === "text") made.textContent = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// By letters, so that none of two halves is cut in the middle.
const shorten = (text, length) => (text.length <= length || [...text].length <= length ? text : [...text].slice(0, length - 1).join("") + "…");

// A class's name that chooses the class.
const classButton = (index) =>
  element("button", { type: "button", text: data.classes[index], title: data.classes[index], onclick: () => choose(index) });

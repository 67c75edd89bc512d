"use strict";
// Sorting: a heading is a button; numbers sort as numbers.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[column].textContent.trim();
      const number = (row) => parseFloat(value(row).replaceAll(",", ""));
      const order = (a, b) => {
        const difference = number(a) - number(b);
        return Number.isNaN(difference)
          ? value(a).localeCompare(value(b), "en", { numeric: true })
          : difference;
      };
      const rows = [...table.tBodies[0].rows].sort(order);
      if (down) rows.reverse();
      table.tBodies[0].append(...rows);
    });
  });
}
// Filtering: what is tagged with another value than the one chosen is hidden.
const form = document.querySelector("form.filters");
const tagged = [...document.querySelectorAll(".tagged")];
const text = new Map(
  tagged.filter((e) => e.tagName === "TR").map((e) => [e, e.textContent.toLowerCase()])
);
function filter() {
  const chosen = [...form.querySelectorAll("select")].filter((s) => s.value !== "");
  const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const element of tagged) {
    const other = chosen.some((select) => {
      const value = element.dataset[select.name];
      return value !== undefined && value !== select.value;
    });
    const lacks = text.has(element) && !words.every((w) => text.get(element).includes(w));
    element.hidden = other || lacks;
  }
  for (const count of document.querySelectorAll("output[data-of]")) {
    const rows = [...document.getElementById(count.dataset.of).tBodies[0].rows];
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  }
}
form.addEventListener("input", filter);
form.addEventListener("reset", () => setTimeout(filter));
form.addEventListener("submit", (event) => event.preventDefault());
filter();

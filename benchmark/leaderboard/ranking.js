"use strict";
(() => {
  const table = document.getElementById("ranks");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];

  function compare(a, b, column) {
    const left = a.cells[column].dataset.value;
    const right = b.cells[column].dataset.value;
    const difference = Number(left) - Number(right);
    return Number.isNaN(difference) ? left.localeCompare(right) : difference;
  }

  function sort(column) {
    const head = heads[column];
    const first = head.dataset.first || "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...body.rows].sort((a, b) => sign * compare(a, b, column));
    body.append(...rows);
    heads.forEach((cell) => cell.setAttribute("aria-sort", cell === head ? order : "none"));
  }

  const views = document.querySelector(".views");
  const choices = [...views.querySelectorAll("button")];

  function show(choice) {
    const keys = JSON.parse(choice.dataset.keys);
    heads.forEach((head, column) => {
      const hide = head.dataset.key !== undefined && !keys.includes(head.dataset.key);
      [...table.rows].forEach((row) => { row.cells[column].hidden = hide; });
    });
    choices.forEach((other) => other.setAttribute("aria-pressed", String(other === choice)));
  }

  choices.forEach((choice) => choice.addEventListener("click", () => show(choice)));
  views.hidden = false;
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sort(column)));
})();

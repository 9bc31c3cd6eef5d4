"use strict";
// Tables sort by a click on a heading, or by Enter on it; rows without a value come last. Of a long
// table, the first rows are shown until a button shows all.
// What scrolls sideways can be reached by the keyboard; what does not takes no stop on the way.
(function () {
  var sizes = new ResizeObserver(function (seen) {
    seen.forEach(function (one) {
      var scrolls = one.target.scrollWidth > one.target.clientWidth + 1;
      if (scrolls) one.target.tabIndex = 0; else one.target.removeAttribute("tabindex");
    });
  });
  document.querySelectorAll(".scroll, .grid li").forEach(function (one) { sizes.observe(one); });
})();

document.querySelectorAll("table[data-sort]").forEach(function (table) {
  var heads = Array.from(table.tHead.rows[0].cells), body = table.tBodies[0];
  var rows = Array.from(body.rows), MOST_SHOWN = 20;
  if (rows.length < 2) return;

  if (rows.length > MOST_SHOWN + 10) {
    var more = document.createElement("button");
    more.type = "button";
    more.className = "controls";
    more.textContent = "Show all " + rows.length + " rows";
    more.addEventListener("click", function () { table.classList.remove("short"); more.remove(); });
    table.classList.add("short");
    table.parentElement.after(more);
  }

  function value(row, column) {
    var cell = row.cells[column], known = cell.dataset.value;
    if (heads[column].classList.contains("number")) return known === undefined ? null : Number(known);
    var text = cell.textContent.trim();
    return text === "–" ? null : text;
  }

  function sort(column) {
    var head = heads[column], numeric = head.classList.contains("number");
    var first = numeric ? "descending" : "ascending", other = numeric ? "ascending" : "descending";
    var order = head.getAttribute("aria-sort") === first ? other : first;
    var sign = order === "ascending" ? 1 : -1;
    heads.forEach(function (one) { one.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", order);
    var keyed = rows.map(function (row, n) { return [value(row, column), n, row]; });
    keyed.sort(function (a, b) {
      if (a[0] === null || b[0] === null) return (a[0] === null) - (b[0] === null) || a[1] - b[1];
      var by = numeric ? a[0] - b[0] : a[0].localeCompare(b[0], undefined, { numeric: true });
      return sign * by || a[1] - b[1];
    });
    keyed.forEach(function (one) { body.appendChild(one[2]); });
  }

  heads.forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent || "name";
    head.textContent = "";
    head.appendChild(button);
    button.addEventListener("click", function () { sort(column); });
  });
});

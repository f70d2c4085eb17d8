// Sorts and filters the tables of the page. Without it the page is whole; it adds the buttons that it answers to.
"use strict";

(() => {
  const LEAST_ROWS = 8;

  const valueOf = (row, place, kind) => {
    const cell = row.cells[place];
    const value = cell.dataset.value;
    if (kind === "text") return value ?? cell.textContent.trim();
    return value === undefined ? null : Number(value);
  };

  const compare = (first, second) => {
    if (typeof first === "number") return first - second;
    return first.localeCompare(second, undefined, { numeric: true, sensitivity: "base" });
  };

  // Rows without a value, and the line of all others, stay at the end in both directions.
  const sorted = (rows, place, kind, sign) => {
    const keyed = rows.map((row, order) => ({ row, order, value: valueOf(row, place, kind) }));
    const isLast = ({ row, value }) => "rest" in row.dataset || value === null || value === "";
    keyed.sort((a, b) => {
      if (isLast(a) !== isLast(b)) return isLast(a) ? 1 : -1;
      return (isLast(a) ? 0 : sign * compare(a.value, b.value)) || a.order - b.order;
    });
    return keyed.map(({ row }) => row);
  };

  const makeSortable = (table, say) => {
    const body = table.tBodies[0];
    const given = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, place) => {
      const kind = head.dataset.sort;
      if (!kind || given.length < 3) return;
      const name = head.textContent.trim();
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        // Numbers are wanted largest first, names from A; the third press brings back the order of the report.
        const turns = kind === "text" ? ["none", "ascending", "descending"] : ["none", "descending", "ascending"];
        const next = turns[(turns.indexOf(head.getAttribute("aria-sort") ?? "none") + 1) % turns.length];
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        if (next !== "none") head.setAttribute("aria-sort", next);
        body.append(...(next === "none" ? given : sorted(given, place, kind, next === "ascending" ? 1 : -1)));
        say(next === "none" ? "in the order of the report" : `sorted by ${name}, ${next}`);
      });
    });
  };

  const plain = (text) => text.normalize("NFKC").toLowerCase();

  const makeFilterable = (table, tools, say) => {
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, text: plain(row.textContent) }));
    if (rows.length < LEAST_ROWS) return;
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "search";
    input.autocomplete = "off";
    input.spellcheck = false;
    input.placeholder = "Filter rows";
    input.setAttribute("aria-label", `Filter rows: ${table.dataset.title}`);
    label.append(input);
    tools.prepend(label);
    input.addEventListener("input", () => {
      const words = plain(input.value).split(/\s+/u).filter(Boolean);
      let shown = 0;
      for (const { row, text } of rows) {
        row.hidden = !words.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      say(words.length ? `${shown} of ${rows.length} rows` : "");
    });
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      input.value = "";
      input.dispatchEvent(new Event("input"));
    });
  };

  for (const table of document.querySelectorAll("table[data-title]")) {
    const tools = document.createElement("div");
    const status = document.createElement("span");
    tools.className = "tools";
    status.setAttribute("role", "status");
    tools.append(status);
    table.closest(".scroll").before(tools);
    const say = (text) => {
      status.textContent = text;
    };
    makeSortable(table, say);
    makeFilterable(table, tools, say);
  }

  // A printed page has nothing to open.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((one) => one.setAttribute("open", ""));
  });
  addEventListener("afterprint", () => closed.forEach((one) => one.removeAttribute("open")));
})();

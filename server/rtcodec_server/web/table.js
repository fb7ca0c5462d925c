// Tables and lists of figures that change every second, without losing focus or selection.

import { make, say } from "./page.js";

/**
 * Let a table body show `rows`, each `{key, cells}`.
 *
 * A cell is a text, a node, or a function that makes the node once and is not asked again. Rows
 * keep their elements for as long as their key is there.
 */
export function fillRows(body, rows) {
  const heads = [...body.closest("table").tHead.rows[0].cells];
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  rows.forEach(({ key, cells }, place) => {
    let row = known.get(key);
    if (!row) {
      row = make("tr");
      row.dataset.key = key;
      row.append(...cells.map((cell, index) => newCell(cell, index, heads[index].className)));
    }
    known.delete(key);
    if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] ?? null);
    cells.forEach((cell, index) => {
      if (typeof cell === "string") say(row.cells[index], cell);
      else if (typeof cell !== "function") row.cells[index].replaceChildren(cell);
    });
  });
  for (const row of known.values()) row.remove();
}

function newCell(cell, index, className) {
  const element = index === 0 ? make("th", { scope: "row" }) : make("td");
  if (className) element.className = className;
  if (typeof cell === "function") element.append(cell());
  return element;
}

/** Let a `<dl>` show `[name, value, unit]`s; those without a value are left out. */
export function fillTiles(list, tiles, tileClass = "") {
  const shown = tiles.filter(([, value]) => value !== null && value !== undefined);
  const names = shown.map(([name]) => name).join("\n");
  if (list.dataset.names !== names) {
    list.dataset.names = names;
    list.replaceChildren(
      ...shown.map(([name, , unit]) =>
        make(
          "div",
          tileClass ? { class: tileClass } : {},
          make("dt", {}, name),
          make("dd", {}, make("span"), unit ? make("small", {}, ` ${unit}`) : ""),
        ),
      ),
    );
  }
  shown.forEach(([, value], index) => say(list.children[index].querySelector("dd span"), value));
}

// What every page needs: elements, words for figures, the room in the address, the token of a tab.
// Text from elsewhere only ever becomes text, never markup.

/**
 * Return the element of that id; a page without it is our own mistake.
 * @returns {any} Of the kind that the page has there.
 */
export function $(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no #${id}`);
  return element;
}

/**
 * Make an element.
 *
 * `properties` that are not strings are set as properties (hidden, onclick), strings as attributes.
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "string") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Set text only where it changed: a live region would say it again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The room of `/publish/{room}` and `/watch/{room}`; the relay has checked it. */
export const room = decodeURIComponent(location.pathname.split("/")[2] ?? "");

const NONE = "–";

/** Return a number with so many digits behind the point, or a dash for none. */
export function number(value, digits = 0) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  return value.toLocaleString("en", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** Return `640 × 360`, or a dash. */
export function size(width, height) {
  return width && height ? `${width} × ${height}` : NONE;
}

/** Return a sentence of what the relay says of itself in lower case. */
export function sentence(text) {
  const clean = text.trim();
  if (!clean) return "";
  return clean[0].toUpperCase() + clean.slice(1) + (/[.!?]$/.test(clean) ? "" : ".");
}

/**
 * The token of this page, kept until its tab is closed.
 *
 * It may come as `#token=...`, which no browser sends to anybody, and is taken out of the address
 * at once.
 */
export class Token {
  #key = `token ${location.pathname}`;

  constructor() {
    this.takeFromAddress();
    addEventListener("hashchange", () => this.takeFromAddress());
  }

  takeFromAddress() {
    const given = new URLSearchParams(location.hash.slice(1)).get("token");
    if (given === null) return;
    history.replaceState(null, "", location.pathname + location.search);
    this.value = given;
  }

  get value() {
    return sessionStorage.getItem(this.#key) ?? "";
  }

  set value(token) {
    const clean = token.trim();
    if (clean) sessionStorage.setItem(this.#key, clean);
    else sessionStorage.removeItem(this.#key);
  }

  /** Headers of a request in its name. */
  get headers() {
    return this.value ? { Authorization: `Bearer ${this.value}` } : {};
  }
}

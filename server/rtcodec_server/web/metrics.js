// Reads /metrics (Prometheus' text format) as far as the dashboard needs it.

/** Return the sum of a metric's samples, or null if there is none. */
export function sumOf(text, name) {
  let sum = null;
  for (const line of text.split("\n")) {
    if (!line.startsWith(name)) continue;
    const next = line[name.length];
    if (next !== " " && next !== "{") continue;
    sum = (sum ?? 0) + Number(line.slice(line.lastIndexOf(" ") + 1));
  }
  return sum;
}

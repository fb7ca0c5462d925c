// The last two minutes of every room, as the dashboard saw them: the relay keeps no history.

const SECONDS = 120;

export class History {
  #rooms = new Map();
  #atS = 0;

  /** Note a report's rooms; within the same second of the relay's clock only once. */
  note(rooms, atS) {
    if (Math.floor(atS) === Math.floor(this.#atS)) return;
    this.#atS = atS;
    const present = new Set(rooms.map((room) => room.room));
    for (const name of this.#rooms.keys()) if (!present.has(name)) this.#rooms.delete(name);
    for (const room of rooms) {
      const lines = this.#rooms.get(room.room) ?? { kbps: [], p50: [], p95: [], psnr: [] };
      this.#rooms.set(room.room, lines);
      const { p50, p95 } = room.recent.latency_ms.total;
      const now = { kbps: room.publisher ? room.kbps : null, p50, p95, psnr: room.recent.psnr_db };
      for (const [name, line] of Object.entries(lines)) {
        line.push(now[name]);
        if (line.length > SECONDS) line.shift();
      }
    }
  }

  /** Return a line's values, one a second, newest last; null where there was none. */
  of(room, name) {
    return this.#rooms.get(room)?.[name] ?? [];
  }
}

// Starts the workers of this folder. Trusted Types: the only script addresses that a page makes are
// made here.

const OURS = new Set(
  ["worker.js", "exact_worker.js", "study_worker.js"].map(
    (name) => new URL(name, import.meta.url).href,
  ),
);

const policy = globalThis.trustedTypes?.createPolicy("rtcodec-worker", {
  createScriptURL(url) {
    if (!OURS.has(url)) throw new TypeError(`${url} is no worker of this folder`);
    return url;
  },
});

/**
 * Start a worker.
 * @param {URL} script
 * @param {string} name For people who debug.
 * @returns {Worker}
 */
export function startWorker(script, name) {
  const url = policy ? policy.createScriptURL(script.href) : script.href;
  return new Worker(url, { type: "module", name });
}

// Asks the daemon's HTTP API, always relative to where the page's code lives, so that it also works behind a path prefix
// and on a round's own page.

const TIMEOUT_MS = 15_000;

/** An address on this server: serverUrl("api/status"). */
export const serverUrl = (path) => new URL(path, import.meta.url);

/** The answer as parsed JSON; throws an Error that says in words what went wrong. */
export async function ask(path) {
  const response = await fetch(serverUrl(path), {
    headers: { accept: "application/json" },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  }).catch(() => {
    throw new Error("The server cannot be reached.");
  });
  const body = await response.json().catch(() => null);
  if (response.ok && body !== null) return body;
  throw new Error(body?.error?.message ?? `The server answered ${response.status}.`);
}

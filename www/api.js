// Asks the daemon's HTTP API, always relative to where the page lives, so that it also works behind a path prefix.

const TIMEOUT_MS = 15_000;

/** The answer as parsed JSON; throws an Error that says in words what went wrong. */
export async function ask(path) {
  const response = await fetch(new URL(path, document.baseURI), {
    headers: { accept: "application/json" },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  }).catch(() => {
    throw new Error("The server cannot be reached.");
  });
  const body = await response.json().catch(() => null);
  if (response.ok && body !== null) return body;
  throw new Error(body?.error?.message ?? `The server answered ${response.status}.`);
}

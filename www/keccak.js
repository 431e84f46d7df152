// keccak256 in the visitor's browser, so that nobody has to take a hash on trust. Pure.

const ROUND_CONSTANTS = [
  0x0000000000000001n, 0x0000000000008082n, 0x800000000000808an, 0x8000000080008000n, 0x000000000000808bn,
  0x0000000080000001n, 0x8000000080008081n, 0x8000000000008009n, 0x000000000000008an, 0x0000000000000088n,
  0x0000000080008009n, 0x000000008000000an, 0x000000008000808bn, 0x800000000000008bn, 0x8000000000008089n,
  0x8000000000008003n, 0x8000000000008002n, 0x8000000000000080n, 0x000000000000800an, 0x800000008000000an,
  0x8000000080008081n, 0x8000000000008080n, 0x0000000080000001n, 0x8000000080008008n,
];
// Rotation of lane x + 5y.
const ROTATIONS = [
  0n, 1n, 62n, 28n, 27n, 36n, 44n, 6n, 55n, 20n, 3n, 10n, 43n, 25n, 39n, 41n, 45n, 15n, 21n, 8n, 18n, 2n, 61n, 56n, 14n,
];
const RATE_BYTES = 136;
const LANE_MASK = (1n << 64n) - 1n;

/** keccak256 of bytes, as 32 bytes: Ethereum's, with padding 0x01 (not SHA-3's 0x06). */
export function keccak256(bytes) {
  const padded = new Uint8Array((Math.floor(bytes.length / RATE_BYTES) + 1) * RATE_BYTES);
  padded.set(bytes);
  padded[bytes.length] ^= 0x01;
  padded[padded.length - 1] ^= 0x80;
  const view = new DataView(padded.buffer);
  let lanes = new Array(25).fill(0n);
  for (let start = 0; start < padded.length; start += RATE_BYTES) {
    for (let lane = 0; lane < RATE_BYTES / 8; lane++) lanes[lane] ^= view.getBigUint64(start + 8 * lane, true);
    lanes = permute(lanes);
  }
  const digest = new DataView(new ArrayBuffer(32));
  for (let lane = 0; lane < 4; lane++) digest.setBigUint64(8 * lane, lanes[lane], true);
  return new Uint8Array(digest.buffer);
}

function permute(lanes) {
  let a = lanes;
  for (const constant of ROUND_CONSTANTS) {
    const columns = [0, 1, 2, 3, 4].map((x) => a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20]);
    const mixed = a.map((lane, i) => lane ^ columns[(i + 4) % 5] ^ rotated(columns[(i + 1) % 5], 1n));
    const moved = new Array(25);
    for (let x = 0; x < 5; x++) {
      for (let y = 0; y < 5; y++) moved[y + 5 * ((2 * x + 3 * y) % 5)] = rotated(mixed[x + 5 * y], ROTATIONS[x + 5 * y]);
    }
    a = moved.map((lane, i) => {
      const row = i - (i % 5);
      return lane ^ (~moved[row + ((i + 1) % 5)] & LANE_MASK & moved[row + ((i + 2) % 5)]);
    });
    a[0] ^= constant;
  }
  return a;
}

function rotated(lane, by) {
  return ((lane << by) | (lane >> (64n - by))) & LANE_MASK;
}

/** The hash of text (UTF-8) as 64 hex digits. */
export function keccakHex(text) {
  return [...keccak256(new TextEncoder().encode(text))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

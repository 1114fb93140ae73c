// @ts-check
/**
 * An encoded picture as `features_of` wrote it: half floats, a few levels for each magnification, channels last.
 *
 * @typedef {object} Level
 * @property {[number, number, number]} shape  rows, columns, channels
 * @property {number} offset  bytes from the beginning
 *
 * @typedef {object} FeaturesMeta
 * @property {string} model
 * @property {[number, number]} shape  height and width of the picture, in pixels
 * @property {Level[]} levels
 * @property {number} bytes
 */

/**
 * Cut a window out of a level, as numbers in single precision and "nested" as the decoder takes it: token by token, and
 * in it the upper left, upper right, lower left and lower right half, and so on, down to its own resolution.
 *
 * @param {Uint16Array} halves  the whole level
 * @param {[number, number, number]} shape  rows, columns, channels
 * @param {number} left  of the window, in tokens
 * @param {number} top
 * @param {number} side  tokens along a side of the window
 * @param {number} doublings  how often the level is twice as fine as the tokens: 0, 1 or 2
 * @returns {Float32Array}
 */
export function cutWindow(halves, shape, left, top, side, doublings) {
  const [, columns, channels] = shape;
  const table = singles();
  const cells = 1 << doublings;
  const parts = nestedParts(doublings);
  const out = new Float32Array(side * side * parts.length * channels);
  let k = 0;
  for (let i = top; i < top + side; i++) {
    for (let j = left; j < left + side; j++) {
      for (const [dx, dy] of parts) {
        let from = ((i * cells + dy) * columns + j * cells + dx) * channels;
        for (let end = k + channels; k < end; k++, from++) out[k] = table[halves[from]];
      }
    }
  }
  return out;
}

/**
 * Return x and y, in cells, of the parts of a token in their nested order.
 *
 * @param {number} doublings
 * @returns {[number, number][]}
 */
export function nestedParts(doublings) {
  /** @type {[number, number][]} */
  let parts = [[0, 0]];
  for (let i = 0; i < doublings; i++) {
    parts = parts.flatMap(([x, y]) => /** @type {[number, number][]} */ ([0, 1, 2, 3].map((k) => [2 * x + (k & 1), 2 * y + (k >> 1)])));
  }
  return parts;
}

/** @type {Float32Array | null} */
let table = null;

/** Return the value of each of the 65536 half floats: looking one up is quicker than to work it out. */
function singles() {
  table ??= Float32Array.from({ length: 1 << 16 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
  });
  return table;
}

/**
 * Check that features are what their description says, and return their numbers.
 *
 * @param {ArrayBuffer | Uint8Array} content
 * @param {FeaturesMeta} meta
 * @returns {Uint16Array[]} one array a level
 */
export function readLevels(content, meta) {
  const bytes = content instanceof Uint8Array ? content : new Uint8Array(content);
  if (bytes.byteLength !== meta.bytes) {
    throw new Error(`got ${bytes.byteLength} bytes of features, expected ${meta.bytes}; fetch them again`);
  }
  // Half floats lie on even addresses; a view into a larger buffer may not.
  const even = bytes.byteOffset % 2 ? bytes.slice() : bytes;
  return meta.levels.map(
    ({ shape, offset }) => new Uint16Array(even.buffer, even.byteOffset + offset, shape[0] * shape[1] * shape[2]),
  );
}

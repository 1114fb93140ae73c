// @ts-check
/**
 * An encoded picture as `features_of` wrote it: half floats or bytes, a few levels for each magnification, channels last.
 *
 * @typedef {object} LevelMeta
 * @property {[number, number, number]} shape  rows, columns, channels
 * @property {number} offset  bytes from the beginning
 * @property {number[]} [low]  of bytes: for each channel the value of 0,
 * @property {number[]} [step]  and how much more each next one is
 *
 * @typedef {object} FeaturesMeta
 * @property {string} model
 * @property {[number, number]} shape  height and width of the picture, in pixels
 * @property {8 | 16} bits
 * @property {number} bytes
 * @property {LevelMeta[]} levels
 *
 * @typedef {object} Level
 * @property {[number, number, number]} shape  rows, columns, channels
 * @property {Uint16Array | Uint8Array} values
 * @property {Float32Array} table  for each value what it stands for; of bytes, one table of 256 for each channel
 * @property {number} stride  of the tables of the channels; 0 where all share one
 */

/**
 * Cut a window out of a level, as numbers in single precision and "nested" as the decoder takes it: token by token, and
 * in it the upper left, upper right, lower left and lower right half, and so on, down to its own resolution.
 *
 * @param {Level} level
 * @param {number} left  of the window, in tokens
 * @param {number} top
 * @param {number} side  tokens along a side of the window
 * @param {number} doublings  how often the level is twice as fine as the tokens: 0, 1 or 2
 * @returns {Float32Array}
 */
export function cutWindow({ values, shape, table, stride }, left, top, side, doublings) {
  const [, columns, channels] = shape;
  const cells = 1 << doublings;
  const parts = nestedParts(doublings);
  const out = new Float32Array(side * side * parts.length * channels);
  let k = 0;
  for (let i = top; i < top + side; i++) {
    for (let j = left; j < left + side; j++) {
      for (const [dx, dy] of parts) {
        const from = ((i * cells + dy) * columns + j * cells + dx) * channels;
        for (let c = 0; c < channels; c++) out[k++] = table[c * stride + values[from + c]];
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
let halves = null;

/** Return the value of each of the 65536 half floats: looking one up is quicker than to work it out. */
function tableOfHalves() {
  halves ??= Float32Array.from({ length: 1 << 16 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
  });
  return halves;
}

/**
 * Return the value of each byte in each channel.
 *
 * @param {number[]} low
 * @param {number[]} step
 */
function tableOfBytes(low, step) {
  return Float32Array.from({ length: 256 * low.length }, (_, k) => low[k >> 8] + step[k >> 8] * (k & 255));
}

/**
 * Check that features are what their description says, and return their levels.
 *
 * @param {ArrayBuffer | Uint8Array} content
 * @param {FeaturesMeta} meta
 * @returns {Level[]}
 */
export function readLevels(content, meta) {
  const bytes = content instanceof Uint8Array ? content : new Uint8Array(content);
  if (bytes.byteLength !== meta.bytes) {
    throw new Error(`got ${bytes.byteLength} bytes of features, expected ${meta.bytes}; fetch them again`);
  }
  // Half floats lie on even addresses; a view into a larger buffer may not.
  const { buffer, byteOffset } = bytes.byteOffset % 2 ? bytes.slice() : bytes;
  return meta.levels.map(({ shape, offset, low, step }) => {
    const count = shape[0] * shape[1] * shape[2];
    if (low && step) {
      const values = new Uint8Array(buffer, byteOffset + offset, count);
      return { shape, values, table: tableOfBytes(low, step), stride: 256 };
    }
    const values = new Uint16Array(buffer, byteOffset + offset, count);
    return { shape, values, table: tableOfHalves(), stride: 0 };
  });
}

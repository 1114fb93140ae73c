// @ts-check
/**
 * What a visitor wants of one object, checked and in one form. Mirrors `sam_core.Prompt`.
 *
 * @typedef {import("./logits.js").Box} Box
 * @typedef {import("./logits.js").Logits} Logits
 * @typedef {import("./logits.js").Size} Size
 *
 * @typedef {object} Asked  as it is given
 * @property {[number, number, number][]} [points]  x, y and 1 on the object or 0 beside it
 * @property {Box | null} [box]  x0, y0, x1, y1, half-open
 * @property {Logits | Float32Array | null} [previous]  the answer to be corrected: a mask that `decode` returned, or
 *   logits for each pixel of the picture
 *
 * @typedef {object} Prompt
 * @property {{x: number, y: number, positive: boolean}[]} points
 * @property {Box | null} box
 * @property {Logits | null} previous
 */
import { positiveRegion } from "./logits.js";

/**
 * Check what is asked and bring it into one form.
 *
 * @param {Asked} asked
 * @param {Size} picture
 * @returns {Prompt}
 */
export function promptOf(asked, picture) {
  const { width, height } = picture;
  const points = (asked.points ?? []).map(([x, y, label]) => {
    if (!(x >= -0.5 && y >= -0.5 && x < width - 0.5 && y < height - 0.5)) {
      throw new RangeError(`got a point at x=${x}, y=${y}, expected it on the picture of ${width} x ${height} pixels`);
    }
    if (label !== 0 && label !== 1) {
      throw new RangeError(`got the label ${label} for a point, expected 1 on the object or 0 beside it`);
    }
    return { x: Math.fround(x), y: Math.fround(y), positive: label === 1 };
  });
  const box = asked.box ? boxOf(asked.box, picture) : null;
  const previous = asked.previous ? previousOf(asked.previous, picture) : null;
  if (!points.length && !box && !previous) {
    throw new RangeError("got an empty prompt, expected points, a box or a previous mask; give at least one of them");
  }
  return { points, box, previous };
}

/**
 * @param {Box} box
 * @param {Size} picture
 * @returns {Box}
 */
function boxOf(box, picture) {
  const [x0, y0, x1, y1] = box.map(Math.fround);
  if (!(x0 < x1 && y0 < y1 && Number.isFinite(x1 - x0 + y1 - y0))) {
    throw new RangeError(`got a box ${box}, expected x0 < x1 and y0 < y1`);
  }
  if (x1 <= 0 || y1 <= 0 || x0 >= picture.width || y0 >= picture.height) {
    throw new RangeError(`got a box ${box} outside the picture of ${picture.width} x ${picture.height} pixels`);
  }
  return [x0, y0, x1, y1];
}

/**
 * @param {Logits | Float32Array} previous
 * @param {Size} picture
 * @returns {Logits}
 */
function previousOf(previous, picture) {
  if (!(previous instanceof Float32Array)) return previous;
  const { width, height } = picture;
  if (previous.length !== width * height) {
    throw new RangeError(`got a previous mask of ${previous.length} logits, expected ${width} x ${height}, one a pixel`);
  }
  return { logits: previous, width, height, box: [0, 0, width, height] };
}

/**
 * Tell whether this is a single positive click and nothing else, and so may mean a part, an object or a group.
 *
 * @param {Prompt} prompt
 */
export function isLoneClick(prompt) {
  return prompt.points.length === 1 && prompt.points[0].positive && !prompt.box && !prompt.previous;
}

/**
 * Return the region that a prompt is about: its box, positive clicks and previous mask.
 *
 * Where there is none of these, that of the negative clicks, or else of what a previous answer without a mask saw.
 *
 * @param {Prompt} prompt
 * @returns {Box}
 */
export function extentOf(prompt) {
  /** @type {Box[]} */
  const regions = prompt.box ? [prompt.box] : [];
  const drawn = prompt.previous && positiveRegion(prompt.previous);
  if (drawn) regions.push(drawn);
  const positive = prompt.points.filter((point) => point.positive);
  regions.push(...(regions.length || positive.length ? positive : prompt.points).map(pixelOf));
  if (!regions.length && prompt.previous) regions.push(prompt.previous.box);
  return [
    Math.min(...regions.map((r) => r[0])),
    Math.min(...regions.map((r) => r[1])),
    Math.max(...regions.map((r) => r[2])),
    Math.max(...regions.map((r) => r[3])),
  ];
}

/**
 * @param {{x: number, y: number}} point
 * @returns {Box}
 */
function pixelOf({ x, y }) {
  return [x, y, Math.fround(x + 1), Math.fround(y + 1)];
}

// @ts-check
/**
 * Where in an encoded picture a prompt is answered: at which magnification, and in which window of it.
 *
 * @typedef {import("./logits.js").Box} Box
 * @typedef {import("./logits.js").Size} Size
 * @typedef {import("./prompt.js").Prompt} Prompt
 *
 * @typedef {object} Rules  numbers that `Sam.portable_decoder` gives
 * @property {number} window
 * @property {number} token_stride
 * @property {number} mask_stride
 * @property {number} levels
 * @property {number} fill
 * @property {number} enlarged
 * @property {number} doubt
 * @property {number} far_better
 *
 * @typedef {object} View  one magnification at which the picture was encoded
 * @property {number} index
 * @property {number} shrink  pixels of the picture to a pixel of the view, along both axes
 * @property {number} reach  largest extent in pixels of the picture of an object that it holds
 *
 * @typedef {object} Corner  first token of a window
 * @property {number} left
 * @property {number} top
 */
import { extentOf } from "./prompt.js";
import { upsample } from "./logits.js";

const NOT_A_POINT = -1;
const TOP_LEFT = 2;
const BOTTOM_RIGHT = 3;

/**
 * Return the magnifications of a picture, finest first.
 *
 * @param {Size} picture
 * @param {Rules} rules
 * @returns {View[]}
 */
export function viewsOf(picture, rules) {
  const longer = Math.max(picture.width, picture.height);
  const last = Math.max(0, Math.ceil(Math.log2(longer / rules.window)));
  const shrinks = Array.from({ length: last + 1 }, (_, octave) => 2 ** octave);
  const most = 2 * longer > rules.window ? rules.enlarged : rules.enlarged - 1;
  const factor = Math.min(Math.floor((rules.enlarged * rules.window) / longer), most);
  if (factor > 1) shrinks.unshift(1 / factor);
  return shrinks.map((shrink, index) => ({ index, shrink, reach: rules.fill * rules.window * shrink }));
}

/**
 * Return the magnifications that can answer a prompt, finest first; at least one.
 *
 * @param {View[]} views
 * @param {Prompt} prompt
 */
export function viewsFor(views, prompt) {
  const [x0, y0, x1, y1] = extentOf(prompt);
  const able = views.filter((view) => view.reach >= Math.max(x1 - x0, y1 - y0));
  return able.length ? able : views.slice(-1);
}

/**
 * Convert a prompt about the picture into one about a view. Points lie on the centres of pixels, boxes on their edges.
 *
 * @param {Prompt} prompt
 * @param {View} view
 * @returns {Prompt}
 */
export function promptInto(prompt, { shrink }) {
  const point = (/** @type {number} */ v) => Math.fround((v + 0.5) / shrink - 0.5);
  const scaled = (/** @type {Box} */ box) => /** @type {Box} */ (box.map((v) => v / shrink));
  return {
    points: prompt.points.map(({ x, y, positive }) => ({ x: point(x), y: point(y), positive })),
    box: prompt.box && scaled(prompt.box),
    previous: prompt.previous && { ...prompt.previous, box: scaled(prompt.previous.box) },
  };
}

/**
 * Place the window around a prompt about a view, inside what was encoded.
 *
 * @param {Prompt} prompt  about the view
 * @param {[number, number]} grid  rows and columns of tokens
 * @param {Rules} rules
 * @returns {Corner}
 */
export function windowFor(prompt, grid, rules) {
  const side = rules.window / rules.token_stride;
  const [x0, y0, x1, y1] = extentOf(prompt);
  const first = (/** @type {number} */ middle, /** @type {number} */ count) =>
    Math.min(Math.max(roundHalfEven(middle / rules.token_stride - side / 2), 0), count - side);
  return { left: first((x0 + x1) / 2, grid[1]), top: first((y0 + y1) / 2, grid[0]) };
}

/**
 * Round as Python does, which for a click between two windows decides which it is.
 *
 * @param {number} value
 */
export function roundHalfEven(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}

/**
 * Return the region of the view that a window covers.
 *
 * @param {Corner} corner
 * @param {Rules} rules
 * @returns {Box}
 */
export function regionOf({ left, top }, { token_stride, window }) {
  const x = left * token_stride;
  const y = top * token_stride;
  return [x, y, x + window, y + window];
}

/**
 * Write a prompt about a view as the decoder takes it: the corners of the box, at least one click, and the previous
 * answer on the grid of the masks.
 *
 * @param {Prompt} prompt
 * @param {Corner} corner
 * @param {Rules} rules
 */
export function codePrompt(prompt, corner, rules) {
  const region = regionOf(corner, rules);
  const [left, top] = region;
  const count = 2 + Math.max(1, prompt.points.length);
  const points = new Float32Array(2 * count);
  const codes = new Int32Array(count).fill(NOT_A_POINT);
  if (prompt.box) {
    const [x0, y0, x1, y1] = prompt.box;
    points.set([x0 - left, y0 - top, x1 - 1 - left, y1 - 1 - top]);
    codes.set([TOP_LEFT, BOTTOM_RIGHT]);
  }
  prompt.points.forEach(({ x, y, positive }, i) => {
    points.set([x - left, y - top], 4 + 2 * i);
    codes[2 + i] = positive ? 1 : 0;
  });
  const side = rules.window / rules.mask_stride;
  const previous = prompt.previous ? upsample(prompt.previous, region, side, side) : new Float32Array(side * side);
  return { points, codes, previous, side };
}

// @ts-check
/**
 * A correction makes an answer better, never worse: what clicks say is kept. Mirrors `sam_core.correction`, so that a
 * preview shows what a click will give.
 *
 * @typedef {import("./logits.js").Box} Box
 * @typedef {import("./logits.js").Logits} Logits
 * @typedef {import("./prompt.js").Prompt} Prompt
 */
import { OUTSIDE, positiveRegion, upsample } from "./logits.js";
import { extentOf, isLoneClick } from "./prompt.js";

const SURE = 1; // logit that a click has at least where it was made
const MOST_PIXELS = 1 << 20; // of a mask whose logits are interpolated to keep clicks apart
const REACHES = [1.5, 0.75, 0.4]; // cells around a click that follow it

/**
 * @template {Logits} T
 * @param {T} mask
 * @param {Prompt} prompt  about the picture
 * @returns {T}
 */
export function corrected(mask, prompt) {
  if (!prompt.points.length) return mask;
  /** @type {Logits} */
  let kept = mask;
  if (!isLoneClick(prompt)) {
    kept = withPrevious(covering(kept, extentOf(prompt)), prompt);
    kept = withClicks(perPixel(kept, prompt), prompt);
  }
  return { ...mask, ...withoutSpecks(kept, prompt) };
}

/**
 * Widen logits by whole cells, certainly outside the object, until they cover a region of the picture.
 *
 * @param {Logits} mask
 * @param {Box} region
 * @returns {Logits}
 */
function covering(mask, region) {
  const { width, height, box } = mask;
  const wide = (box[2] - box[0]) / width;
  const high = (box[3] - box[1]) / height;
  const left = Math.max(0, Math.ceil((box[0] - region[0]) / wide));
  const top = Math.max(0, Math.ceil((box[1] - region[1]) / high));
  const right = Math.max(0, Math.ceil((region[2] - box[2]) / wide));
  const bottom = Math.max(0, Math.ceil((region[3] - box[3]) / high));
  if (!(left || top || right || bottom)) return mask;
  const across = left + width + right;
  const logits = new Float32Array(across * (top + height + bottom)).fill(OUTSIDE);
  for (let y = 0; y < height; y++) {
    logits.set(mask.logits.subarray(y * width, (y + 1) * width), (top + y) * across + left);
  }
  return {
    logits,
    width: across,
    height: top + height + bottom,
    box: [box[0] - left * wide, box[1] - top * high, box[2] + right * wide, box[3] + bottom * high],
  };
}

/**
 * @param {Logits} mask
 * @param {Prompt} prompt
 * @returns {Logits}
 */
function withPrevious(mask, prompt) {
  if (!prompt.previous) return mask;
  const choose = prompt.points[prompt.points.length - 1].positive ? Math.max : Math.min;
  const previous = upsample(prompt.previous, mask.box, mask.width, mask.height);
  return { ...mask, logits: mask.logits.map((value, i) => choose(value, previous[i])) };
}

/**
 * Interpolate coarser logits at pixels: clicks beside each other then have cells of their own.
 *
 * @param {Logits} mask
 * @param {Prompt} prompt
 * @returns {Logits}
 */
function perPixel(mask, prompt) {
  const [x0, y0, x1, y1] = mask.box;
  const region = positiveRegion(mask, 2) ?? mask.box;
  const xs = [region[0], region[2], ...prompt.points.flatMap(({ x }) => [x - 1, x + 2])];
  const ys = [region[1], region[3], ...prompt.points.flatMap(({ y }) => [y - 1, y + 2])];
  const within = (/** @type {number} */ v, /** @type {number} */ low, /** @type {number} */ high) =>
    Math.min(Math.max(v, low), high);
  const left = Math.floor(within(Math.min(...xs), x0, x1));
  const top = Math.floor(within(Math.min(...ys), y0, y1));
  const width = Math.ceil(within(Math.max(...xs), x0, x1)) - left;
  const height = Math.ceil(within(Math.max(...ys), y0, y1)) - top;
  const area = width * height;
  if ((y1 - y0) * (x1 - x0) <= mask.logits.length || area <= 0 || area > MOST_PIXELS) return mask;
  /** @type {Box} */
  const box = [left, top, left + width, top + height];
  return { logits: upsample(mask, box), width, height, box };
}

/**
 * Raise or lower the logits around each click that the mask does not follow.
 *
 * @param {Logits} mask
 * @param {Prompt} prompt
 * @returns {Logits}
 */
function withClicks(mask, prompt) {
  const logits = mask.logits.slice();
  const { width, height } = mask;
  for (const reach of REACHES) {
    for (const point of prompt.points) {
      for (const [column, row] of cellsOf(mask, point)) {
        const lacking = (point.positive ? SURE : -SURE) - logits[row * width + column];
        if (lacking > 0 !== point.positive) continue;
        const across = bump(width, column, reach);
        const down = bump(height, row, reach);
        for (let y = 0, k = 0; y < height; y++) {
          const height_ = lacking * down[y];
          for (let x = 0; x < width; x++, k++) logits[k] += height_ * across[x];
        }
      }
    }
  }
  return { ...mask, logits };
}

/**
 * Drop the pieces that are neither clicked on nor part of the previous answer; all stay where none is.
 *
 * @param {Logits} mask
 * @param {Prompt} prompt
 * @returns {Logits}
 */
function withoutSpecks(mask, prompt) {
  const { width, height, logits } = mask;
  const clicked = prompt.points.filter((point) => point.positive).flatMap((point) => cellsOf(mask, point));
  const seeds = clicked.map(([column, row]) => row * width + column);
  if (prompt.previous) {
    upsample(prompt.previous, mask.box, width, height).forEach((value, i) => value > 0 && seeds.push(i));
  }
  const wanted = piecesAt(mask, seeds);
  if (!wanted) return mask;
  return { logits: logits.map((value, i) => (value > 0 && !wanted[i] ? -SURE : value)), width, height, box: mask.box };
}

/**
 * Mark the pieces, connected also across corners, that some cells are on; null where none of the cells is on one.
 *
 * @param {Logits} mask
 * @param {number[]} seeds
 */
function piecesAt({ logits, width, height }, seeds) {
  const marked = new Uint8Array(logits.length);
  const open = seeds.filter((k) => logits[k] > 0);
  if (!open.length) return null;
  for (const k of open) marked[k] = 1;
  while (open.length) {
    const k = /** @type {number} */ (open.pop());
    const x = k % width;
    const y = (k - x) / width;
    for (let j = Math.max(0, y - 1); j <= Math.min(height - 1, y + 1); j++) {
      for (let i = Math.max(0, x - 1); i <= Math.min(width - 1, x + 1); i++) {
        const next = j * width + i;
        if (!marked[next] && logits[next] > 0) {
          marked[next] = 1;
          open.push(next);
        }
      }
    }
  }
  return marked;
}

/**
 * Return the cells, columns and rows, that the pixel of a click is drawn between.
 *
 * @param {Logits} mask
 * @param {{x: number, y: number}} point
 * @returns {[number, number][]}
 */
function cellsOf({ width, height, box }, { x, y }) {
  const columns = around((x + 0.5 - box[0]) * (width / (box[2] - box[0])) - 0.5, width);
  const rows = around((y + 0.5 - box[1]) * (height / (box[3] - box[1])) - 0.5, height);
  return rows.flatMap((row) => columns.map((column) => /** @type {[number, number]} */ ([column, row])));
}

/**
 * Return the one or two cells, of those there are, that a place lies on or between.
 *
 * @param {number} place
 * @param {number} count
 */
function around(place, count) {
  return [...new Set([Math.floor(place), Math.ceil(place)])].filter((cell) => cell >= 0 && cell < count);
}

/**
 * @param {number} count
 * @param {number} middle
 * @param {number} reach
 */
function bump(count, middle, reach) {
  return Float32Array.from({ length: count }, (_, i) => Math.exp(-((i - middle) ** 2) / (2 * reach ** 2)));
}

// @ts-check
/**
 * A mask before it is drawn: logits at low resolution over a region of a picture.
 *
 * Frames: x before y; the integer coordinates of a point are the centre of a pixel; boxes and regions lie on the edges
 * of pixels and are half-open, x0, y0, x1, y1. Mirrors `sam_core.Logits`.
 *
 * @typedef {[number, number, number, number]} Box
 *
 * @typedef {object} Logits
 * @property {Float32Array} logits  `height` rows of `width` values; positive means object
 * @property {number} width
 * @property {number} height
 * @property {Box} box  the region of the picture that they cover; it may reach outside the picture
 *
 * @typedef {object} Size
 * @property {number} width   pixels
 * @property {number} height
 *
 * @typedef {object} Bitmap  which pixels of a box of the picture belong to the object
 * @property {number} x       of the first pixel
 * @property {number} y
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array} data  1 on the object, else 0
 */

/** The logit of what was not looked at. */
export const OUTSIDE = -32;

/**
 * Interpolate logits on a grid over a region of the picture: bilinear between the centres of cells.
 *
 * @param {Logits} mask
 * @param {Box} region  of the picture
 * @param {number} [width]   cells of the grid; by default one a pixel
 * @param {number} [height]
 * @returns {Float32Array} `height` rows of `width`; -32 where the logits do not reach
 */
export function upsample(mask, region, width = region[2] - region[0], height = region[3] - region[1]) {
  const across = axis(region[0], region[2], width, mask.box[0], mask.box[2], mask.width);
  const down = axis(region[1], region[3], height, mask.box[1], mask.box[3], mask.height);
  const out = new Float32Array(width * height).fill(OUTSIDE);
  const { logits } = mask;
  for (let i = 0; i < height; i++) {
    if (down.outside[i]) continue;
    const above = down.low[i] * mask.width;
    const below = down.high[i] * mask.width;
    const weight = down.weight[i];
    for (let j = 0; j < width; j++) {
      if (across.outside[j]) continue;
      const left = across.low[j];
      const right = across.high[j];
      const first = logits[above + left] * (1 - weight) + logits[below + left] * weight;
      const last = logits[above + right] * (1 - weight) + logits[below + right] * weight;
      out[i * width + j] = first * (1 - across.weight[j]) + last * across.weight[j];
    }
  }
  return out;
}

/**
 * Place `count` centres spread over first..last among `cells` centres spread over start..stop.
 *
 * @param {number} first
 * @param {number} last
 * @param {number} count
 * @param {number} start
 * @param {number} stop
 * @param {number} cells
 */
function axis(first, last, count, start, stop, cells) {
  const low = new Int32Array(count);
  const high = new Int32Array(count);
  const weight = new Float32Array(count);
  const outside = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const edge = first + (i + 0.5) * ((last - first) / count);
    const at = Math.min(Math.max((edge - start) * (cells / (stop - start)) - 0.5, 0), cells - 1);
    low[i] = Math.min(Math.floor(at), Math.max(cells - 2, 0));
    high[i] = Math.min(low[i] + 1, cells - 1);
    weight[i] = at - low[i];
    outside[i] = edge < start || edge > stop ? 1 : 0;
  }
  return { low, high, weight, outside };
}

/**
 * Return the region of the positive logits and `margin` cells around it; null where none is positive.
 *
 * @param {Logits} mask
 * @param {number} [margin]
 * @returns {Box | null}
 */
export function positiveRegion(mask, margin = 0) {
  let [left, top, right, bottom] = [mask.width, -1, -1, -1];
  for (let y = 0, k = 0; y < mask.height; y++) {
    for (let x = 0; x < mask.width; x++, k++) {
      if (mask.logits[k] > 0) {
        if (top < 0) top = y;
        bottom = y;
        if (x < left) left = x;
        if (x > right) right = x;
      }
    }
  }
  if (top < 0) return null;
  const [x0, y0, x1, y1] = mask.box;
  const wide = (x1 - x0) / mask.width;
  const high = (y1 - y0) / mask.height;
  return [
    x0 + (left - margin) * wide,
    y0 + (top - margin) * high,
    x0 + (right + 1 + margin) * wide,
    y0 + (bottom + 1 + margin) * high,
  ];
}

/**
 * Draw a mask at the resolution of the picture, looking only where it may be positive.
 *
 * @param {Logits} mask
 * @param {Size} picture
 * @returns {Bitmap} 0 pixels wide where the mask is empty
 */
export function draw(mask, picture) {
  const box = around(mask, picture);
  if (!box) return { x: 0, y: 0, width: 0, height: 0, data: new Uint8Array(0) };
  const [x, y, x1, y1] = box;
  const values = upsample(mask, box);
  const data = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) data[i] = values[i] > 0 ? 1 : 0;
  return { x, y, width: x1 - x, height: y1 - y, data };
}

/**
 * Tell whether a mask has no pixel on the picture. A few rows are drawn at a time: mostly the first ones tell.
 *
 * @param {Logits} mask
 * @param {Size} picture
 */
export function isEmpty(mask, picture) {
  const box = around(mask, picture);
  if (!box) return true;
  const [x0, y0, x1, y1] = box;
  for (let y = y0; y < y1; y += 8) {
    if (upsample(mask, [x0, y, x1, Math.min(y + 8, y1)]).some((value) => value > 0)) return false;
  }
  return true;
}

/**
 * Return the pixels of the picture that may be positive: interpolation reaches one cell further. Null where there are
 * none.
 *
 * @param {Logits} mask
 * @param {Size} picture
 * @returns {Box | null}
 */
function around(mask, picture) {
  const region = positiveRegion(mask, 1);
  if (!region) return null;
  const x0 = Math.max(0, Math.floor(region[0]));
  const y0 = Math.max(0, Math.floor(region[1]));
  const x1 = Math.min(picture.width, Math.ceil(region[2]));
  const y1 = Math.min(picture.height, Math.ceil(region[3]));
  return x0 < x1 && y0 < y1 ? [x0, y0, x1, y1] : null;
}

/**
 * Tell whether a mask runs into a border of what was looked at that is not the border of the picture.
 *
 * @param {Logits} mask
 * @param {Size} picture
 */
export function isCut(mask, picture) {
  const { logits, width, height, box } = mask;
  const row = (/** @type {number} */ y) => logits.subarray(y * width, (y + 1) * width).some((v) => v > 0);
  const column = (/** @type {number} */ x) => {
    for (let y = 0; y < height; y++) if (logits[y * width + x] > 0) return true;
    return false;
  };
  return (
    (box[1] > 0.5 && row(0)) ||
    (box[0] > 0.5 && column(0)) ||
    (box[3] < picture.height - 0.5 && row(height - 1)) ||
    (box[2] < picture.width - 0.5 && column(width - 1))
  );
}

// A mask as it is sent, to an outline that a canvas draws: smooth, and through the middle of the edges of pixels.

const STEP = [[1, 0], [0, 1], [-1, 0], [0, -1]]; // right, down, left, up

// The pixels of a mask, one byte each, with an empty border of one pixel.
function pixels({ w, h, runs }) {
  const width = w + 2;
  const bits = new Uint8Array(width * (h + 2));
  let at = 0;
  runs.forEach((run, i) => {
    if (i % 2) {
      for (let k = at; k < at + run; k++) bits[(Math.floor(k / w) + 1) * width + (k % w) + 1] = 1;
    }
    at += run;
  });
  return bits;
}

// Directions in which edges leave each corner, four bits; the mask lies to the right of its edges.
function edges(bits, w, h) {
  const width = w + 2;
  const out = new Uint8Array(width * (h + 2));
  for (let y = 1; y <= h; y++) {
    for (let x = 1; x <= w; x++) {
      const i = y * width + x;
      if (!bits[i]) continue;
      if (!bits[i - width]) out[i] |= 1;
      if (!bits[i + 1]) out[i + 1] |= 2;
      if (!bits[i + width]) out[i + width + 1] |= 4;
      if (!bits[i - 1]) out[i + width] |= 8;
    }
  }
  return out;
}

export class Mask {
  // `sent`: x, y, w, h and runs, as the server sends it.
  constructor(sent) {
    this.x = sent.x;
    this.y = sent.y;
    this.w = sent.w;
    this.h = sent.h;
    this.bits = pixels(sent);
    this.path = this.trace();
  }

  has(x, y) {
    const column = Math.floor(x) - this.x;
    const row = Math.floor(y) - this.y;
    if (column < 0 || row < 0 || column >= this.w || row >= this.h) return false;
    return this.bits[(row + 1) * (this.w + 2) + column + 1] === 1;
  }

  trace() {
    const width = this.w + 2;
    const out = edges(this.bits, this.w, this.h);
    const path = new Path2D();
    for (let start = 0; start < out.length; start++) {
      while (out[start]) {
        const ring = [];
        let at = start;
        let direction = 31 - Math.clz32(out[at]);
        do {
          if (!(out[at] & (1 << direction))) {
            direction = [1, 0, 3].map((turn) => (direction + turn) % 4).find((d) => out[at] & (1 << d));
          }
          out[at] &= ~(1 << direction);
          const [dx, dy] = STEP[direction];
          ring.push((at % width) + this.x - 1 + dx / 2, Math.floor(at / width) + this.y - 1 + dy / 2);
          at += dx + dy * width;
          // At a corner where two parts touch, stay with the one we are on.
          const right = (direction + 1) % 4;
          if (out[at] & (1 << right)) direction = right;
        } while (at !== start && out[at]);
        draw(path, ring);
      }
    }
    return path;
  }
}

// Takes the stairs off a ring of middles of edges, and leaves it where it was to half a pixel.
function draw(path, ring) {
  const count = ring.length / 2;
  const weights = count < 12 ? [1] : [1, 2, 3, 2, 1];
  const reach = (weights.length - 1) / 2;
  const total = weights.reduce((a, b) => a + b);
  for (let i = 0; i < count; i++) {
    let [x, y] = [0, 0];
    weights.forEach((weight, k) => {
      const j = ((i + k - reach + count) % count) * 2;
      x += (weight * ring[j]) / total;
      y += (weight * ring[j + 1]) / total;
    });
    if (i) path.lineTo(x, y);
    else path.moveTo(x, y);
  }
  path.closePath();
}

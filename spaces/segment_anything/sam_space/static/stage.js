// The picture and what lies on it; pointer, wheel and touch become intentions. Knows nothing of the server.
//
// Places are x, y in pixels of the picture, measured from its outer corner.

const DRAG = 5; // px of the screen from which a click is a drag
const LONG = 550; // ms from which a touch excludes
const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Stage {
  // `on`: functions hover(place|null), click(place, positive), box([x0,y0,x1,y1]), stroke(points, add)
  constructor(canvas, on) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.on = on;
    this.picture = null;
    this.items = []; // {mask, colour, active}
    this.marks = { clicks: [], box: null };
    this.preview = null; // {mask, colour, positive}
    this.tool = "point";
    this.pen = 8;
    this.zoom = 1;
    this.left = 0;
    this.top = 0;
    this.pointers = new Map();
    this.cursor = null; // of the keyboard
    this.pointer = null;
    this.drag = null;
    this.dirty = false;
    this.listen();
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  listen() {
    const c = this.canvas;
    c.addEventListener("pointerdown", (e) => this.down(e));
    c.addEventListener("pointermove", (e) => this.move(e));
    c.addEventListener("pointerup", (e) => this.up(e));
    c.addEventListener("pointercancel", (e) => this.cancel(e));
    c.addEventListener("pointerleave", (e) => this.leave(e));
    c.addEventListener("contextmenu", (e) => e.preventDefault());
    c.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
  }

  show(image, fit = true) {
    this.picture = image;
    this.preview = null;
    if (fit) this.fit();
    this.draw();
  }

  resize() {
    const { width, height } = this.canvas.getBoundingClientRect();
    const ratio = devicePixelRatio || 1;
    if (!width || !height) return;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    if (this.picture && !this.moved) this.fit();
    this.draw();
  }

  get size() {
    const ratio = devicePixelRatio || 1;
    return { width: this.canvas.width / ratio, height: this.canvas.height / ratio };
  }

  // Shows the whole picture, clear of what floats over it.
  fit() {
    if (!this.picture) return;
    const { width, height } = this.size;
    const room = Math.min(20, width * 0.03);
    const [left, bottom] = width > 700 ? [84, this.slider ? 68 : room] : [room, 76];
    const top = this.slider && width <= 700 ? 68 : room;
    const [across, down] = [width - left - room, height - top - bottom];
    this.zoom = Math.min(across / this.picture.width, down / this.picture.height);
    this.left = left + (across - this.picture.width * this.zoom) / 2;
    this.top = top + (down - this.picture.height * this.zoom) / 2;
    this.moved = false;
    this.draw();
  }

  zoomBy(factor, at) {
    const { width, height } = this.size;
    const [x, y] = at ?? [width / 2, height / 2];
    const zoom = Math.min(Math.max(this.zoom * factor, 0.05), 64);
    this.left = x - ((x - this.left) * zoom) / this.zoom;
    this.top = y - ((y - this.top) * zoom) / this.zoom;
    this.zoom = zoom;
    this.moved = true;
    this.draw();
  }

  panBy(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.moved = true;
    this.draw();
  }

  place(e) {
    const box = this.canvas.getBoundingClientRect();
    return [(e.clientX - box.left - this.left) / this.zoom, (e.clientY - box.top - this.top) / this.zoom];
  }

  inside([x, y]) {
    return this.picture && x >= 0 && y >= 0 && x < this.picture.width && y < this.picture.height;
  }

  clamp([x, y]) {
    const { width, height } = this.picture;
    return [Math.min(Math.max(x, 0), width - 0.01), Math.min(Math.max(y, 0), height - 0.01)];
  }

  // -- pointers -----------------------------------------------------------------------------------------------------

  down(e) {
    if (!this.picture) return;
    this.canvas.setPointerCapture(e.pointerId);
    this.pointers.set(e.pointerId, [e.clientX, e.clientY]);
    this.cursor = null;
    if (this.pointers.size === 2) {
      this.drag = { kind: "pinch", ...this.pinch() };
      clearTimeout(this.long);
      return;
    }
    const pan = e.button === 1 || this.space || this.tool === "pan";
    const place = this.place(e);
    const negative = e.button === 2 || e.shiftKey;
    if (pan) this.drag = { kind: "pan", at: [e.clientX, e.clientY] };
    else if (this.tool === "point") this.drag = { kind: "press", from: place, at: [e.clientX, e.clientY], negative };
    else {
      this.drag = { kind: "stroke", add: (this.tool === "brush") !== negative, points: [place] };
      this.draw();
    }
    if (e.pointerType === "touch" && this.drag.kind === "press") {
      this.long = setTimeout(() => {
        if (this.drag?.kind === "press") this.drag.negative = true;
        navigator.vibrate?.(15);
        this.draw();
      }, LONG);
    }
    this.hover(null);
  }

  move(e) {
    if (!this.picture) return;
    const before = this.pointers.get(e.pointerId);
    if (before) this.pointers.set(e.pointerId, [e.clientX, e.clientY]);
    const place = this.place(e);
    this.pointer = place;
    const drag = this.drag;
    if (!drag) {
      this.shift = e.shiftKey;
      if (e.pointerType !== "touch") this.hover(this.inside(place) ? place : null, e.shiftKey);
      if (this.tool !== "point") this.draw();
      return;
    }
    if (drag.kind === "pinch") this.pinched(drag);
    else if (drag.kind === "pan") {
      this.panBy(e.clientX - drag.at[0], e.clientY - drag.at[1]);
      drag.at = [e.clientX, e.clientY];
    } else if (drag.kind === "stroke") {
      for (const each of e.getCoalescedEvents?.() ?? [e]) this.extend(drag, this.place(each));
      this.draw();
    } else {
      const far = Math.hypot(e.clientX - drag.at[0], e.clientY - drag.at[1]) > DRAG;
      if (far || drag.kind === "box") {
        clearTimeout(this.long);
        drag.kind = "box";
        drag.to = place;
        this.draw();
      }
    }
  }

  extend(drag, place) {
    const [x, y] = drag.points.at(-1);
    const apart = Math.max(0.5, this.pen / 4);
    if (drag.points.length < 1900 && Math.hypot(place[0] - x, place[1] - y) >= apart) drag.points.push(place);
  }

  up(e) {
    clearTimeout(this.long);
    this.pointers.delete(e.pointerId);
    const drag = this.drag;
    if (drag?.kind === "pinch") {
      if (!this.pointers.size) this.drag = null;
      return;
    }
    this.drag = null;
    if (!drag || !this.picture) return;
    if (drag.kind === "press" && this.inside(drag.from)) this.on.click(drag.from, !drag.negative);
    if (drag.kind === "box") {
      const [a, b] = [this.clamp(drag.from), this.clamp(drag.to)];
      if (Math.abs(a[0] - b[0]) >= 2 && Math.abs(a[1] - b[1]) >= 2) this.on.box([...a, ...b]);
    }
    if (drag.kind === "stroke") this.on.stroke(drag.points, drag.add);
    this.draw();
  }

  cancel(e) {
    clearTimeout(this.long);
    this.pointers.delete(e.pointerId);
    this.drag = null;
    this.draw();
  }

  leave() {
    this.pointer = null;
    this.hover(null);
    this.draw();
  }

  hover(place, negative = false) {
    if (this.tool === "point") this.on.hover(place, !negative);
    else this.on.hover(null, true);
  }

  pinch() {
    const [[ax, ay], [bx, by]] = [...this.pointers.values()];
    return { middle: [(ax + bx) / 2, (ay + by) / 2], apart: Math.hypot(ax - bx, ay - by) };
  }

  pinched(drag) {
    if (this.pointers.size < 2) return;
    const now = this.pinch();
    const box = this.canvas.getBoundingClientRect();
    this.panBy(now.middle[0] - drag.middle[0], now.middle[1] - drag.middle[1]);
    this.zoomBy(now.apart / drag.apart, [now.middle[0] - box.left, now.middle[1] - box.top]);
    Object.assign(drag, now);
  }

  wheel(e) {
    if (!this.picture) return;
    e.preventDefault();
    const box = this.canvas.getBoundingClientRect();
    this.zoomBy(Math.exp(-e.deltaY * (e.ctrlKey ? 0.01 : 0.0016)), [e.clientX - box.left, e.clientY - box.top]);
  }

  // -- keyboard -----------------------------------------------------------------------------------------------------

  // Moves a cross by pixels of the screen, and looks at what is under it.
  step(dx, dy, negative) {
    if (!this.picture) return;
    const { width, height } = this.picture;
    const [x, y] = this.cursor ?? [width / 2, height / 2];
    this.cursor = this.clamp([x + dx / this.zoom, y + dy / this.zoom]);
    this.hover(this.cursor, negative);
    this.draw();
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  draw() {
    if (this.dirty) return;
    this.dirty = true;
    requestAnimationFrame(() => {
      this.dirty = false;
      this.paint();
    });
  }

  paint() {
    const c = this.context;
    const ratio = devicePixelRatio || 1;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.picture) return;
    c.drawImage(this.paintGround(ratio), 0, 0);
    this.transform(c, ratio);
    const line = 1 / this.zoom;
    if (this.preview) this.paintPreview(line);
    this.paintMarks(line);
    this.paintDrag(line);
    this.paintCursor(line);
    // The dashes wander; a few pictures a second are enough, and leave the processor to the model.
    if (this.preview && !still.matches) {
      clearTimeout(this.wander);
      this.wander = setTimeout(() => this.preview && this.draw(), 120);
    }
  }

  transform(context, ratio) {
    context.setTransform(ratio * this.zoom, 0, 0, ratio * this.zoom, ratio * this.left, ratio * this.top);
  }

  // The picture and the objects on it, painted anew only when they or the view have changed.
  paintGround(ratio) {
    const state = [this.picture, this.items, this.zoom, this.left, this.top, this.canvas.width, this.canvas.height];
    if (this.ground && state.every((each, i) => each === this.grounds[i])) return this.ground;
    this.ground ??= document.createElement("canvas");
    this.grounds = state;
    this.canvas.dataset.view = `${this.zoom} ${this.left} ${this.top}`;
    this.ground.width = this.canvas.width;
    this.ground.height = this.canvas.height;
    const c = this.ground.getContext("2d");
    this.transform(c, ratio);
    c.imageSmoothingEnabled = this.zoom < 6;
    c.imageSmoothingQuality = this.zoom < 1 ? "high" : "medium";
    c.drawImage(this.picture, 0, 0);
    for (const item of this.items) this.paintMask(c, item, 1 / this.zoom);
    return this.ground;
  }

  paintMask(c, { mask, colour, active }, line) {
    c.fillStyle = colour;
    c.globalAlpha = active ? 0.42 : 0.28;
    c.fill(mask.path, "evenodd");
    c.globalAlpha = 1;
    c.lineJoin = "round";
    c.strokeStyle = active ? "rgba(255,255,255,.95)" : "rgba(0,0,0,.45)";
    c.lineWidth = (active ? 4.5 : 3) * line;
    c.stroke(mask.path);
    c.strokeStyle = colour;
    c.lineWidth = (active ? 2.25 : 1.75) * line;
    c.stroke(mask.path);
  }

  paintPreview(line) {
    const c = this.context;
    const { mask, colour } = this.preview;
    c.fillStyle = colour;
    c.globalAlpha = 0.25;
    c.fill(mask.path, "evenodd");
    c.globalAlpha = 1;
    c.strokeStyle = "rgba(0,0,0,.55)";
    c.lineWidth = 3.5 * line;
    c.stroke(mask.path);
    c.setLineDash([6 * line, 4 * line]);
    c.lineDashOffset = still.matches ? 0 : (-performance.now() / 45) * line;
    c.strokeStyle = "#fff";
    c.lineWidth = 2 * line;
    c.stroke(mask.path);
    c.setLineDash([]);
  }

  paintMarks(line) {
    const c = this.context;
    if (this.marks.box) {
      const [x0, y0, x1, y1] = this.marks.box;
      c.strokeStyle = "rgba(255,255,255,.8)";
      c.lineWidth = 1.25 * line;
      c.setLineDash([4 * line, 4 * line]);
      c.strokeRect(x0, y0, x1 - x0, y1 - y0);
      c.setLineDash([]);
    }
    for (const [x, y, positive] of this.marks.clicks) {
      c.beginPath();
      c.arc(x, y, 6 * line, 0, 7);
      c.fillStyle = positive ? "#16a34a" : "#dc2626";
      c.fill();
      c.strokeStyle = "#fff";
      c.lineWidth = 1.75 * line;
      c.stroke();
      c.beginPath();
      c.moveTo(x - 3 * line, y);
      c.lineTo(x + 3 * line, y);
      if (positive) {
        c.moveTo(x, y - 3 * line);
        c.lineTo(x, y + 3 * line);
      }
      c.stroke();
    }
  }

  paintDrag(line) {
    const c = this.context;
    if (this.drag?.kind === "box") {
      const [[x0, y0], [x1, y1]] = [this.drag.from, this.drag.to];
      c.fillStyle = "rgba(255,255,255,.12)";
      c.fillRect(x0, y0, x1 - x0, y1 - y0);
      c.strokeStyle = "rgba(0,0,0,.6)";
      c.lineWidth = 3 * line;
      c.strokeRect(x0, y0, x1 - x0, y1 - y0);
      c.strokeStyle = "#fff";
      c.lineWidth = 1.5 * line;
      c.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
    if (this.drag?.kind === "stroke") {
      c.strokeStyle = c.fillStyle = this.drag.add ? "rgba(255,255,255,.55)" : "rgba(220,38,38,.55)";
      c.lineWidth = 2 * this.pen;
      c.lineCap = c.lineJoin = "round";
      c.beginPath();
      this.drag.points.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y)));
      if (this.drag.points.length === 1) c.lineTo(this.drag.points[0][0], this.drag.points[0][1] + 0.01);
      c.stroke();
    }
  }

  paintCursor(line) {
    const c = this.context;
    if (this.pointer && (this.tool === "brush" || this.tool === "eraser")) {
      for (const [width, colour] of [[3, "rgba(0,0,0,.6)"], [1.5, this.tool === "brush" ? "#fff" : "#fca5a5"]]) {
        c.beginPath();
        c.arc(this.pointer[0], this.pointer[1], this.pen, 0, 7);
        c.strokeStyle = colour;
        c.lineWidth = width * line;
        c.stroke();
      }
    }
    if (this.cursor) {
      const [x, y] = this.cursor;
      for (const [width, colour] of [[4, "rgba(0,0,0,.7)"], [2, "#fff"]]) {
        c.beginPath();
        for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
          c.moveTo(x + 4 * dx * line, y + 4 * dy * line);
          c.lineTo(x + 14 * dx * line, y + 14 * dy * line);
        }
        c.strokeStyle = colour;
        c.lineWidth = width * line;
        c.stroke();
      }
    }
  }
}

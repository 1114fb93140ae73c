// The page: brings the desk (the server), the stage (the picture) and the side together.

import { Refused, deskAt } from "./desk.js";
import { Mask } from "./mask.js";
import { ModelMenu } from "./models.js";
import { Latest, ServerPreviewer, previewerFor } from "./previewer.js";
import { Stage } from "./stage.js";

const BIN = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13"/></svg>';
const NEW = "#ffffff"; // of what is no object yet
const STILL_HERE = 240_000; // ms between two signs of life of a page that is only looked at
const ms = (value) => (value < 10 ? value.toFixed(1) : Math.round(value)) + " ms";

export function start(element, base) {
  const root = element.querySelector(".sam");
  if (root.dataset.started) return;
  root.dataset.started = "yes";
  new Page(root, deskAt(base)).begin();
}

class Page {
  constructor(root, desk) {
    this.root = root;
    this.desk = desk;
    this.masks = new Map(); // key -> Mask
    this.view = { objects: [], active: null, candidates: [], clicks: [], box: null };
    this.picture = null;
    this.plane = 0;
    this.facts = {};
    this.running = null; // AbortController of long work
    this.queue = Promise.resolve();
    this.stage = new Stage(this.find(".canvas"), {
      hover: (place, positive) => this.hover(place, positive),
      click: (place, positive) => this.click(place, positive),
      box: (box) => this.act("box", { box, fresh: this.each }),
      stroke: (points, add) => this.act("stroke", { points, radius: this.stage.pen, add }),
    });
    this.models = new ModelMenu(this.find(".models"), this.find("button.model"), desk, {
      chosen: (told) => this.changed(told),
      tell: (text, no) => this.tell(text, no),
    });
    this.listen();
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  get each() {
    return this.find("[data-do=each]").checked;
  }

  async begin() {
    try {
      const about = await this.desk.visit();
      this.about = about;
      this.own = previewerFor(this.desk, about);
      this.latest = new Latest(this.own, (answer, where) => this.previewed(answer, where));
      this.fact({ where: about.where, model: about.model });
      this.models.begin(about.model, about.models);
      this.listExamples(about.examples);
      await this.open("example", { name: about.examples[0].name });
      this.root.dataset.state = "ready";
      setInterval(() => this.desk.post("look", { plane: this.plane }).then((view) => this.learn(view), () => {}), STILL_HERE);
    } catch (error) {
      this.refuse(error);
    }
  }

  // -- telling ------------------------------------------------------------------------------------------------------

  tell(text, no = false) {
    const told = this.find(".told");
    told.textContent = text;
    told.classList.toggle("no", no);
  }

  refuse(error) {
    if (error.name === "AbortError") return;
    this.tell(error instanceof Refused ? error.message : "The server cannot be reached; try again.", true);
  }

  fact(facts) {
    Object.assign(this.facts, facts);
    const { encode, answer, trip, where, model } = this.facts;
    const parts = [];
    if (encode !== undefined) parts.push(encode ? `encoded in ${ms(encode)}` : "encoded before");
    if (answer !== undefined) parts.push(`answer ${ms(answer)}` + (trip ? `, with the way ${ms(trip)}` : ""));
    const called = model?.split("/").at(-1);
    if (model) parts.push(`${called} ${where === "browser" ? "in this browser" : `on the server (${where})`}`);
    const line = this.find(".facts");
    line.textContent = parts.join("  ·  ");
    line.title = this.latest?.previewer.why ?? "";
  }

  // -- opening ------------------------------------------------------------------------------------------------------

  listExamples(examples) {
    const box = this.find(".examples");
    for (const { name, title } of examples) {
      const button = document.createElement("button");
      button.title = title;
      button.dataset.example = name;
      const image = new Image();
      image.src = this.desk.address(`example/${name}`);
      image.alt = title;
      button.append(image);
      button.addEventListener("click", () => this.open("example", { name }));
      box.append(button);
    }
  }

  async open(path, body, options) {
    this.stop();
    this.latest.drop();
    this.tell("Opening");
    try {
      const told = await this.desk.post(path, body, options);
      this.masks.clear();
      this.picture = told.picture;
      this.stage.moved = false;
      const chosen = path === "example" ? body.name : null;
      for (const each of this.root.querySelectorAll("[data-example]")) {
        each.setAttribute("aria-pressed", String(each.dataset.example === chosen));
      }
      this.setUpPlanes();
      this.take(told);
      const { name, own_width: width, own_height: height, planes, shrunk } = told.picture;
      const stack = planes > 1 ? `, ${planes} planes` : "";
      const small = shrunk > 1 ? `, worked on at 1/${shrunk} of its size and taken away at its own` : "";
      await this.showPlane(planes > 1 ? Math.floor(planes / 2) : 0, true);
      this.tell(`${name}: ${width} × ${height}${stack}${small}. Point at an object and click.`);
    } catch (error) {
      this.refuse(error);
    }
  }

  upload(file) {
    if (!file) return;
    if (file.size > this.about.limits.bytes) {
      this.tell(`${file.name} is larger than ${this.about.limits.bytes >> 20} MiB; cut out the part you need.`, true);
      return;
    }
    this.open("open", file, { headers: { "x-name": encodeURIComponent(file.name) } });
  }

  setUpPlanes() {
    const count = this.picture.planes;
    this.find(".planes").hidden = count < 2;
    this.stage.slider = count > 1;
    const range = this.find(".planes input");
    range.max = count - 1;
    this.find(".which").textContent = this.picture.axes === "TYX" ? "Time" : "Plane";
    range.setAttribute("aria-label", this.find(".which").textContent);
  }

  async showPlane(plane, fit = false) {
    this.plane = plane;
    const wanted = this.picture;
    this.find(".planes input").value = plane;
    this.find(".planes output").textContent = `${plane + 1} / ${this.picture.planes}`;
    this.latest.drop();
    this.latest.previewer.leave();
    // The server encodes while the picture is on its way.
    const encoded = this.encode(plane, wanted);
    encoded.catch(() => {}); // it is told below, when the picture is there
    const { blob } = await this.desk.blob("picture", { plane });
    const image = await createImageBitmap(blob);
    if (this.plane !== plane || this.picture !== wanted) return;
    this.stage.show(image, fit);
    this.root.dataset.picture = this.picture.name;
    if (this.picture.planes > 1) this.take(await this.desk.post("look", { plane }));
    await encoded;
  }

  async encode(plane, wanted) {
    const last = await this.desk.lines("encode", { plane }, (told) => {
      if (told.queue) this.tell(`Waiting: ${told.queue} before you`);
    });
    if (last.stopped || this.plane !== plane || this.picture !== wanted) return;
    this.latest.previewer.ready(plane);
    this.fact({ encode: last.encode_ms, where: last.where });
    this.root.dataset.encoded = `${this.picture.name}:${plane}`;
  }

  // Another model answers from now on: what it has not seen it has to look at first.
  async changed({ model, where }) {
    this.fact({ model, where: where ?? this.facts.where, encode: undefined, answer: undefined });
    this.latest.drop();
    // Only the server's own model has a decoder for the browser.
    this.latest.previewer.leave();
    this.latest.previewer = model === this.about.model ? this.own : new ServerPreviewer(this.desk);
    if (!this.picture) return;
    await this.encode(this.plane, this.picture).catch((error) => this.refuse(error));
  }

  // -- asking -------------------------------------------------------------------------------------------------------

  hover(place, positive) {
    if (!place || !this.picture || this.busy) {
      this.latest?.drop();
      this.stage.preview = null;
      this.stage.draw();
      return;
    }
    const here = this.view.objects.find((each) => each.number === this.view.active && each.key);
    if (!positive && (!here || this.each)) return;
    this.latest.want({ plane: this.plane, x: place[0], y: place[1], positive, fresh: this.each || !here });
  }

  previewed(answer, where) {
    if (where.plane !== this.plane) return;
    const active = this.view.objects.find((each) => each.number === this.view.active);
    const colour = active && !this.each ? active.colour : NEW;
    this.stage.preview = answer.mask ? { mask: new Mask(answer.mask), colour } : null;
    this.fact({ answer: answer.ms, trip: answer.trip, where: answer.where });
    this.root.dataset.previews = this.latest.count;
    this.root.dataset.where = answer.where;
    this.root.dataset.score = answer.mask ? answer.score : "";
    this.stage.draw();
  }

  click([x, y], positive) {
    return this.act("click", { x, y, positive, fresh: this.each && positive });
  }

  // One change at a time, in the order in which they were asked for.
  act(action, given = {}) {
    this.latest.drop();
    this.stage.preview = null;
    const plane = this.plane;
    this.queue = this.queue.then(async () => {
      const begun = performance.now();
      try {
        const told = await this.desk.post("act", { action, plane, ...given });
        this.take(told);
        const asked = action === "click" || action === "box";
        if (asked) this.fact({ answer: told.ms, trip: performance.now() - begun, where: told.where });
        this.tell(this.said(action));
      } catch (error) {
        this.refuse(error);
      }
      this.root.dataset.acts = Number(this.root.dataset.acts ?? 0) + 1;
    });
    return this.queue;
  }

  said(action) {
    const active = this.view.objects.find((each) => each.number === this.view.active);
    const count = this.view.objects.length;
    const plural = count === 1 ? "1 object" : `${count} objects`;
    if (active?.key && ["click", "box", "choose", "stroke"].includes(action)) {
      const score = active.score < 1 ? `, score ${active.score.toFixed(2)}` : "";
      return `${active.name}: ${active.area} px${score}. Click on to correct it, N for another.`;
    }
    return { select: active ? `${active.name} is chosen.` : "The next click begins another object." }[action] ?? plural;
  }

  async long(path, what) {
    if (!this.picture || this.busy) return;
    const control = new AbortController();
    this.running = control;
    const busy = this.find(".busy");
    const bar = busy.querySelector("progress");
    busy.hidden = false;
    bar.removeAttribute("value");
    busy.querySelector(".what").textContent = what;
    this.root.dataset.busy = path;
    this.latest.drop();
    const plane = this.plane;
    try {
      const told = await this.desk.lines(path, { plane }, ({ done, total, queue }) => {
        if (queue) busy.querySelector(".what").textContent = `Waiting: ${queue} before you`;
        if (!total) return;
        bar.value = done / total;
        busy.querySelector(".what").textContent = `${what}: ${done} of ${total}`;
      }, control.signal);
      if (told.stopped) this.tell("Stopped; nothing was changed.");
      else {
        if (plane === this.plane) this.take(told);
        else this.take(await this.desk.post("look", { plane: this.plane }));
        const found = path === "follow" ? `followed to ${told.found} more planes` : `${told.found} objects found`;
        this.tell(`${found} in ${ms(told.ms)}`);
      }
    } catch (error) {
      if (error.name === "AbortError") this.tell("Stopped; nothing was changed.");
      else this.refuse(error);
    }
    busy.hidden = true;
    this.running = null;
    delete this.root.dataset.busy;
  }

  get busy() {
    return this.running !== null;
  }

  stop() {
    this.running?.abort();
  }

  // -- showing ------------------------------------------------------------------------------------------------------

  // Drawings are sent once: whatever brings them, they are kept.
  learn(view) {
    for (const [key, sent] of Object.entries(view.drawn)) this.masks.set(Number(key), new Mask(sent));
    if (view.model !== this.models.model) this.models.fell(view.model); // it had to make room
  }

  take(view) {
    this.learn(view);
    this.view = view;
    this.stage.items = view.objects
      .filter((each) => each.key && this.masks.has(each.key))
      .map((each) => ({ mask: this.masks.get(each.key), colour: each.colour, active: each.number === view.active }));
    this.stage.marks = { clicks: view.clicks, box: view.box };
    this.stage.preview = null;
    this.find("[data-do=undo]").disabled = !view.can_undo;
    this.find("[data-do=redo]").disabled = !view.can_redo;
    this.find("[data-do=clear]").disabled = !view.objects.length;
    this.root.dataset.objects = view.objects.length;
    this.list();
    this.offer();
    this.stage.draw();
  }

  list() {
    const { objects, active } = this.view;
    this.find(".count").textContent = objects.length || "";
    const list = this.find(".list");
    list.replaceChildren(...objects.toReversed().map((each) => this.row(each, each.number === active)));
    list.querySelector(".active")?.scrollIntoView({ block: "nearest" });
  }

  row(each, active) {
    const row = document.createElement("li");
    row.className = (active ? "active " : "") + (each.key ? "" : "elsewhere");
    row.dataset.number = each.number;
    if (active) row.setAttribute("aria-current", "true");
    const colour = document.createElement("input");
    Object.assign(colour, { type: "color", value: each.colour, ariaLabel: `Colour of ${each.name}` });
    colour.addEventListener("change", () => this.act("recolour", { number: each.number, colour: colour.value }));
    const name = document.createElement("input");
    Object.assign(name, { type: "text", value: each.name, maxLength: 60, ariaLabel: "Name of the object" });
    name.addEventListener("focus", () => {
      if (this.view.active !== each.number) this.choose(each);
    });
    name.addEventListener("keydown", (e) => e.key === "Enter" && name.blur());
    name.addEventListener("change", () => this.act("rename", { number: each.number, name: name.value }));
    const about = document.createElement("small");
    about.textContent = each.key ? `${each.area} px` : `plane ${each.planes.map((p) => p + 1).join(", ").slice(0, 12)}`;
    const bin = document.createElement("button");
    bin.innerHTML = BIN;
    bin.ariaLabel = `Delete ${each.name}`;
    bin.title = "Delete";
    bin.addEventListener("click", (e) => {
      e.stopPropagation();
      this.act("delete", { number: each.number });
    });
    row.addEventListener("click", (e) => {
      if (e.target === row || e.target === about) this.choose(each);
    });
    row.append(colour, name, about, bin);
    return row;
  }

  // The list is built anew when an object is chosen: who was typing a name goes on doing so.
  async choose(each) {
    const typing = this.root.contains(document.activeElement) && document.activeElement.type === "text";
    await this.act("select", { number: each.number });
    if (!each.key && each.planes.length) await this.showPlane(each.planes[0]);
    if (typing) this.find(`li[data-number="${each.number}"] input[type=text]`)?.focus();
  }

  // Three small pictures of what the click may mean.
  offer() {
    const box = this.find(".candidates");
    const { candidates, chosen } = this.view;
    box.hidden = candidates.length < 2;
    const colour = this.view.objects.find((each) => each.number === this.view.active)?.colour;
    box.replaceChildren(...candidates.map((sent, i) => {
      const button = document.createElement("button");
      button.setAttribute("role", "radio");
      button.setAttribute("aria-checked", String(i === chosen));
      button.ariaLabel = `Candidate ${i + 1}, score ${sent.score.toFixed(2)}`;
      button.title = `Candidate ${i + 1} (${i + 1})`;
      button.append(this.small(sent, colour, candidates), sent.score.toFixed(2));
      button.addEventListener("click", () => this.act("choose", { index: i }));
      return button;
    }));
  }

  small(sent, colour, all) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 144;
    const c = canvas.getContext("2d");
    const [x0, y0] = [Math.min(...all.map((m) => m.x)), Math.min(...all.map((m) => m.y))];
    const [x1, y1] = [Math.max(...all.map((m) => m.x + m.w)), Math.max(...all.map((m) => m.y + m.h))];
    const side = Math.max(x1 - x0, y1 - y0) * 1.25 + 4;
    const zoom = 144 / side;
    c.setTransform(zoom, 0, 0, zoom, (-(x0 + x1) / 2) * zoom + 72, (-(y0 + y1) / 2) * zoom + 72);
    c.drawImage(this.stage.picture, 0, 0);
    const mask = new Mask(sent);
    c.fillStyle = c.strokeStyle = colour;
    c.globalAlpha = 0.45;
    c.fill(mask.path, "evenodd");
    c.globalAlpha = 1;
    c.lineWidth = 4 / zoom;
    c.stroke(mask.path);
    return canvas;
  }

  // -- taking away --------------------------------------------------------------------------------------------------

  async download(kind) {
    try {
      const { blob, name } = await this.desk.blob("take", { kind, plane: this.plane });
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      this.tell(`${name}: ${Math.max(1, Math.round(blob.size / 1024))} KiB`);
    } catch (error) {
      this.refuse(error);
    }
  }

  async python() {
    try {
      const { python } = await this.desk.post("python", { plane: this.plane });
      this.root.dataset.python = python;
      await navigator.clipboard.writeText(python);
      this.tell(`Copied ${python.trim().split("\n").length} lines that make the same objects with sam_core.`);
    } catch (error) {
      if (error instanceof Refused) this.refuse(error);
      else this.tell("The browser does not let this page copy.", true);
    }
  }

  // -- keys, buttons, files -----------------------------------------------------------------------------------------

  listen() {
    this.root.addEventListener("click", (e) => {
      const button = e.target.closest("button");
      if (button?.dataset.do) this.do(button.dataset.do);
      if (button?.dataset.tool) this.pick(button.dataset.tool);
      if (button?.dataset.kind) this.download(button.dataset.kind);
    });
    this.find("#sam-file").addEventListener("change", (e) => {
      this.upload(e.target.files[0]);
      e.target.value = "";
    });
    this.find(".planes input").addEventListener("input", (e) => this.go(Number(e.target.value)));
    this.find(".pen input").addEventListener("input", (e) => this.setPen(Number(e.target.value)));
    addEventListener("keydown", (e) => this.key(e));
    addEventListener("keyup", (e) => {
      if (e.key === " ") this.pan(false);
    });
    addEventListener("paste", (e) => {
      const file = [...(e.clipboardData?.files ?? [])][0];
      if (file) this.upload(file);
    });
    let depth = 0;
    const dragging = (e) => [...(e.dataTransfer?.types ?? [])].includes("Files");
    const drop = (e) => {
      if (!dragging(e)) return;
      e.preventDefault();
      depth += { dragenter: 1, dragleave: -1 }[e.type] ?? 0;
      if (e.type === "drop") {
        depth = 0;
        this.upload(e.dataTransfer.files[0]);
      }
      this.root.classList.toggle("dropping", depth > 0);
    };
    for (const type of ["dragenter", "dragover", "dragleave", "drop"]) addEventListener(type, drop);
  }

  do(what) {
    const doing = {
      undo: () => this.act("undo"),
      redo: () => this.act("redo"),
      clear: () => this.act("clear"),
      next: () => this.act("select", { number: null }),
      fit: () => this.stage.fit(),
      everything: () => this.long("everything", "Segmenting everything"),
      follow: () => this.long("follow", "Following"),
      stop: () => this.stop(),
      python: () => this.python(),
      help: () => this.find("dialog.help").showModal(),
      models: () => this.models.toggle(),
      theme: () => document.body.classList.toggle("dark"),
    }[what];
    doing?.();
  }

  pick(tool) {
    this.stage.tool = this.root.dataset.tool = tool;
    for (const each of this.root.querySelectorAll("[data-tool]")) {
      if (each !== this.root) each.setAttribute("aria-pressed", String(each.dataset.tool === tool));
    }
    this.find(".pen").hidden = tool !== "brush" && tool !== "eraser";
    this.hover(null);
  }

  setPen(radius) {
    this.stage.pen = Math.min(Math.max(radius, 0.5), 40);
    this.find(".pen input").value = this.stage.pen;
    this.find(".pen output").textContent = this.stage.pen;
    this.stage.draw();
  }

  pan(on) {
    this.stage.space = on;
    this.root.classList.toggle("panning", on);
  }

  go(plane) {
    if (!this.picture || plane < 0 || plane >= this.picture.planes || plane === this.plane) return;
    this.showPlane(plane).catch((error) => this.refuse(error));
  }

  key(e) {
    const typing = ["INPUT", "TEXTAREA", "SELECT"].includes(e.target.tagName) && e.target.type !== "checkbox";
    const range = e.target.type === "range";
    if ((typing && !range) || this.find("dialog.help").open) return;
    const command = e.ctrlKey || e.metaKey;
    const key = e.key.length === 1 ? e.key.toLowerCase() : e.key;
    if (command) {
      const known = { z: e.shiftKey ? "redo" : "undo", y: "redo" }[key];
      if (known) {
        e.preventDefault();
        this.do(known);
      }
      return;
    }
    const onCanvas = e.target === this.stage.canvas;
    const far = e.altKey ? 1 : 12;
    const arrows = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
    if (onCanvas && arrows[e.key]) {
      e.preventDefault();
      this.stage.step(...arrows[e.key], e.shiftKey);
    } else if (onCanvas && e.key === "Enter" && this.stage.cursor) {
      e.preventDefault();
      this.click(this.stage.cursor, !e.shiftKey);
    } else if (e.key === " " && (onCanvas || e.target === document.body)) {
      e.preventDefault();
      this.pan(true);
    } else this.plain(key, e);
  }

  plain(key, e) {
    const keys = {
      m: () => this.do("models"),
      n: () => this.do("next"),
      e: () => this.do("everything"),
      f: () => this.do("follow"),
      v: () => this.pick("point"),
      b: () => this.pick("brush"),
      x: () => this.pick("eraser"),
      "[": () => this.setPen(this.stage.pen / 1.25),
      "]": () => this.setPen(this.stage.pen * 1.25),
      ",": () => this.go(this.plane - 1),
      ".": () => this.go(this.plane + 1),
      "+": () => this.stage.zoomBy(1.25),
      "=": () => this.stage.zoomBy(1.25),
      "-": () => this.stage.zoomBy(0.8),
      0: () => this.stage.fit(),
      1: () => this.view.candidates.length && this.act("choose", { index: 0 }),
      2: () => this.view.candidates.length > 1 && this.act("choose", { index: 1 }),
      3: () => this.view.candidates.length > 2 && this.act("choose", { index: 2 }),
      "?": () => this.do("help"),
      Escape: () => (this.models.isOpen ? this.models.close() : this.busy ? this.stop() : this.view.active !== null && this.do("next")),
      Delete: () => this.view.active !== null && this.act("delete", { number: this.view.active }),
      Backspace: () => this.view.active !== null && this.act("delete", { number: this.view.active }),
    };
    if (!keys[key]) return;
    e.preventDefault();
    keys[key]();
  }
}

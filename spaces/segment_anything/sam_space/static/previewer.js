// What a click would take, shown while the pointer moves.
//
// A previewer has these functions:
//   leave()           the plane that was shown is not shown any more
//   ready(plane)      another one is, and is encoded
//   ask(where)        {plane, x, y, positive, fresh, sure} -> {mask, score, ms, where}, {mask: null} for nothing, or null;
//                     {mask: null, doubt: true} where it would take longer: asked again, with `sure`, if the pointer rests
//   release()         it is not needed any more
//   hurry()           the pointer has moved on: what is being computed need not be looked at more closely
// x, y are measured from the outer corner of the picture; `fresh` is true where the click would begin an object.

import { BrowserPreviewer } from "./browser-previewer.js";

export class ServerPreviewer {
  constructor(desk) {
    this.desk = desk;
  }

  leave() {}

  release() {}

  ready() {}

  hurry() {}

  async ask(where) {
    const answer = await this.desk.post("preview", where);
    return answer.stopped ? null : answer;
  }
}

// The one place where it is decided who previews; `about` is what the desk said to the visit.
export function previewerFor(desk, about) {
  const server = new ServerPreviewer(desk);
  const able = about.previewer !== "server" && "Worker" in globalThis && "WebAssembly" in globalThis;
  // Who counts bytes is not sent ten million of them to save a way to the server.
  return able && !navigator.connection?.saveData ? new BrowserPreviewer(desk, server, about) : server;
}

const REST = 80; // ms without a move, after which a doubtful place is looked at more closely
const APART = 28; // ms between questions: as fast as anybody sees, and no faster

// Asks one question at a time, and then only the newest: what was pointed at in between is of no interest.
export class Latest {
  constructor(previewer, show) {
    this.previewer = previewer;
    this.show = show;
    this.generation = 0;
    this.wanted = null;
    this.running = false;
    this.count = 0;
  }

  want(where) {
    clearTimeout(this.rest);
    this.wanted = where;
    if (this.running) this.previewer.hurry();
    else this.run();
  }

  // Whatever is on its way is of no interest any more.
  drop() {
    clearTimeout(this.rest);
    this.generation += 1;
    this.wanted = null;
  }

  async run() {
    this.running = true;
    while (this.wanted) {
      const where = this.wanted;
      const generation = this.generation;
      this.wanted = null;
      const start = performance.now();
      try {
        const answer = await this.previewer.ask(where);
        const trip = performance.now() - start;
        if (answer && generation === this.generation) {
          this.count += 1;
          this.show({ ...answer, trip }, where);
          if (answer.doubt && !this.wanted) this.rest = setTimeout(() => this.want({ ...where, sure: true }), REST);
        }
      } catch {
        // A preview that fails is no preview; the next click says what is wrong.
        await new Promise((done) => setTimeout(done, 400));
      }
      const left = APART - (performance.now() - start);
      if (left > 0) await new Promise((done) => setTimeout(done, left));
    }
    this.running = false;
  }
}

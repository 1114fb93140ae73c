// What a click would take, computed here: the plane is sent once, encoded, and then a moving pointer asks nobody.
//
// The server answers until all is here that is needed for it, where a plane is too large to be sent, where a click would
// correct an object, and for good where this browser turns out not to be able.

const SETTLE = 300; // ms that a plane is shown before it is sent: who leafs through a stack does not want each, and a
// page that has just come has better things to do
const LATER = 3000; // ms between two questions whether the server has what is needed by now
const PATIENCE = 5000; // ms for an answer; what takes longer has come to a standstill
const STRIKES = 3; // failures one after the other until it is left at that

export class BrowserPreviewer {
  constructor(desk, server, about) {
    this.desk = desk;
    this.server = server;
    this.about = about;
    this.session = null; // of the decoder: a promise, since it is loaded once
    this.decoder = null;
    this.plane = null; // that the decoder has
    this.strikes = 0;
    this.why = ""; // it does not work, if it does not
    this.leaving = new AbortController();
  }

  leave() {
    this.leaving.abort();
    this.plane = null;
  }

  ready(plane) {
    this.leave();
    this.leaving = new AbortController();
    if (this.why) return;
    this.learn(plane, this.leaving.signal).catch((error) => {
      if (error.name !== "AbortError") this.fail(error);
    });
  }

  hurry() {
    if (this.plane !== null) this.decoder.hurry();
  }

  async ask(where) {
    if (this.plane !== where.plane || !where.positive || !where.fresh) return this.server.ask(where);
    try {
      const answer = await within(PATIENCE, this.decoder.preview({ points: [pointOfPage(where)] }));
      this.strikes = 0;
      return answer && this.told(answer);
    } catch (error) {
      this.strikes += 1;
      if (error instanceof Standstill || this.strikes >= STRIKES) this.fail(error);
      return this.server.ask(where);
    }
  }

  told({ masks, best, ms, complete }) {
    const shown = { ms, where: "browser" };
    // Over the ground between objects a first look does not tell; the server leaves it at that, too.
    if (!complete || best < 0) return { mask: null, doubt: !complete, ...shown };
    return { mask: sent(this.draw(masks[best], this.size)), score: masks[best].score, ...shown };
  }

  // Brings the decoder, where it is not here yet, and the plane.
  async learn(plane, signal) {
    await pause(SETTLE, signal);
    while (this.about.previewer === "later") {
      await pause(LATER, signal);
      this.about = await this.desk.post("later");
    }
    if (!this.about.decoder) throw new Error("the server has no decoder for browsers");
    this.session ??= this.load(this.about.decoder);
    this.session.catch(() => {}); // it is told below, when the features are here
    const features = await this.desk.features(plane, signal).catch((error) => {
      // Of this plane there is nothing to be had; the next one may be smaller.
      if (error.name === "AbortError" || error.name === "Refused") return null;
      throw error;
    });
    this.decoder = await this.session;
    if (!features || signal.aborted) return;
    if (features.meta.model !== this.about.decoder.meta.model) return;
    await this.decoder.setEmbedding(features.content, features.meta);
    if (signal.aborted) return;
    const [height, width] = features.meta.shape;
    this.size = { width, height };
    this.plane = plane;
  }

  async load({ folder, meta }) {
    const base = this.desk.address(folder);
    const { Decoder, draw } = await import(new URL("decoder.js", base));
    this.draw = draw;
    return Decoder.load({ onnxUrl: new URL("decoder.onnx", base).href, ortUrl: base.href, meta });
  }

  // There is no way back, and no need for one: the server answers from now on.
  fail(error) {
    this.why = `The browser cannot preview: ${String(error.message || error).slice(0, 160)}. The server does.`;
    this.release();
  }

  release() {
    this.leave();
    this.session?.then((decoder) => decoder.release(), () => {});
    this.session = this.decoder = null;
  }
}

class Standstill extends Error {}

// The one place where x, y of the page, from the outer corner, become those of the decoder, where an integer is the
// centre of a pixel.
function pointOfPage({ x, y }) {
  return [x - 0.5, y - 0.5, 1];
}

// Runs of 0 and 1 along the rows, as the server sends a mask.
function sent({ x, y, width, height, data }) {
  const runs = [];
  let [value, since] = [0, 0];
  for (let i = 0; i < data.length; i++) {
    if (data[i] === value) continue;
    runs.push(i - since);
    [value, since] = [data[i], i];
  }
  runs.push(data.length - since);
  return { x, y, w: width, h: height, runs };
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}

async function within(ms, work) {
  let timer;
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Standstill(`no answer in ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

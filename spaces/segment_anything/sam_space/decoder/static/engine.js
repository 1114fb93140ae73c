// @ts-check
/**
 * Runs the exported decoder with onnxruntime-web and answers prompts as `sam_core.segment` does.
 *
 * @typedef {import("./logits.js").Box} Box
 * @typedef {import("./logits.js").Logits} Logits
 * @typedef {import("./logits.js").Size} Size
 * @typedef {import("./prompt.js").Asked} Asked
 * @typedef {import("./prompt.js").Prompt} Prompt
 * @typedef {import("./places.js").Rules} Rules
 * @typedef {import("./places.js").View} View
 * @typedef {import("./places.js").Corner} Corner
 * @typedef {import("./features.js").FeaturesMeta} FeaturesMeta
 *
 * @typedef {Logits & {score: number}} Mask  an answer and the IoU that it is predicted to have
 *
 * @typedef {object} Answer
 * @property {Mask[]} masks  the candidates, in the order of the model; those that show nothing are left out
 * @property {number} best  which of them has the highest score; -1 where there is none
 * @property {number} ms  that the answer took
 * @property {number} runs  windows that were looked at
 * @property {boolean} complete  false where a newer preview cut it short: coarser views might have answered better
 *
 * @typedef {object} DecoderMeta  what `decoder_meta` returns
 * @property {string} model
 * @property {Rules} rules
 * @property {Record<string, (number | string)[]>} inputs
 *
 * @typedef {object} LoadOptions
 * @property {string} onnxUrl  of the file that `export_decoder` wrote
 * @property {string} ortUrl  of the folder with the files of onnxruntime-web
 * @property {DecoderMeta} meta
 * @property {number} [threads]  by default half the cores up to four where the page is cross-origin
 *   isolated, else one
 */
import { corrected } from "./correction.js";
import { cutWindow, nestedParts, readLevels } from "./features.js";
import { isCut, isEmpty } from "./logits.js";
import { codePrompt, promptInto, regionOf, viewsFor, viewsOf, windowFor } from "./places.js";
import { isLoneClick, promptOf } from "./prompt.js";

const WINDOWS_KEPT = 4; // of 2 MB; a pointer mostly stays between a few
const CANDIDATES = [1, 2, 3]; // of the masks that the decoder draws; 0 is the single answer

/** One encoded picture. */
class Picture {
  /**
   * @param {ArrayBuffer | Uint8Array} content
   * @param {FeaturesMeta} meta
   * @param {Rules} rules
   */
  constructor(content, meta, rules) {
    this.rules = rules;
    this.levels = readLevels(content, meta);
    /** @type {Size} */
    this.size = { width: meta.shape[1], height: meta.shape[0] };
    this.views = viewsOf(this.size, rules);
    if (this.levels.length !== this.views.length * rules.levels) {
      throw new Error(
        `got ${this.levels.length} levels of a picture of ${this.size.width} x ${this.size.height} pixels, ` +
          `expected ${this.views.length * rules.levels}; the features were made by another model`,
      );
    }
    /** @type {Map<string, Float32Array[]>} */
    this.cut = new Map();
  }

  /** @param {View} view @returns {[number, number]} rows and columns of its tokens */
  grid(view) {
    const [rows, columns] = this.levels[view.index * this.rules.levels].shape;
    return [rows, columns];
  }

  /** @param {View} view @param {Corner} corner */
  window(view, { left, top }) {
    const key = `${view.index} ${left} ${top}`;
    const first = view.index * this.rules.levels;
    const side = this.rules.window / this.rules.token_stride;
    const found =
      this.cut.get(key) ??
      [0, 1, 2].map((i) => cutWindow(this.levels[first + i], left, top, side, i));
    // The one that was used longest ago comes first, and goes first.
    this.cut.delete(key);
    this.cut.set(key, found);
    if (this.cut.size > WINDOWS_KEPT) this.cut.delete(this.cut.keys().next().value ?? "");
    return found;
  }
}

export class Engine {
  /** @type {Picture | null} */
  #picture = null;
  /** @type {Promise<unknown>} */
  #turn = Promise.resolve();
  #hurried = false;

  /**
   * @param {any} ort  the module of onnxruntime-web
   * @param {any} session
   * @param {DecoderMeta} meta
   */
  constructor(ort, session, meta) {
    this.ort = ort;
    this.session = session;
    this.meta = meta;
  }

  /**
   * Load runtime and decoder. Addresses must be absolute.
   *
   * @param {LoadOptions} options
   */
  static async load({ onnxUrl, ortUrl, meta, threads }) {
    const folder = ortUrl.replace(/[^/]*\.mjs$/, "").replace(/\/?$/, "/");
    const ort = await import(`${folder}ort.wasm.min.mjs`);
    // Without the headers COOP and COEP there is no memory that threads could share. And threads wait for one another
    // actively: where the page needs a core too, as many as there are cores are slower than one.
    const most = Math.min(4, Math.max(1, Math.floor((navigator.hardwareConcurrency || 1) / 2)));
    ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? (threads ?? most) : 1;
    ort.env.wasm.wasmPaths = folder;
    const response = await fetch(onnxUrl);
    if (!response.ok) throw new Error(`got HTTP status ${response.status} from ${onnxUrl}, expected the decoder`);
    const session = await ort.InferenceSession.create(new Uint8Array(await response.arrayBuffer()), {
      executionProviders: ["wasm"],
      graphOptimizationLevel: "all",
    });
    return new Engine(ort, session, meta);
  }

  /**
   * Take another picture; later prompts are about it.
   *
   * @param {ArrayBuffer | Uint8Array} content
   * @param {FeaturesMeta} meta
   */
  setEmbedding(content, meta) {
    this.#picture = null; // where the new one cannot be read, the one before must not answer for it
    this.#picture = new Picture(content, meta, this.meta.rules);
  }

  /**
   * Answer a prompt. One runs at a time; the others wait for their turn.
   *
   * @param {Asked} asked
   * @param {{candidates?: 1 | 3, preview?: boolean}} [options]  `candidates` is for prompts other than a lone click,
   *   whose three always come; `preview` is for one that `hurry` may cut short
   * @returns {Promise<Answer>}
   */
  decode(asked, { candidates = 1, preview = false } = {}) {
    const picture = this.#picture;
    const answer = this.#turn.then(() => {
      if (!picture) throw new Error("got a prompt before a picture, expected setEmbedding first");
      return this.#answer(picture, promptOf(asked, picture.size), { candidates, preview });
    });
    this.#turn = answer.catch(() => {});
    return answer;
  }

  /** Tell the preview that is being computed that a newer one waits. */
  hurry() {
    this.#hurried = true;
  }

  /**
   * @param {Picture} picture
   * @param {Prompt} prompt
   * @param {{candidates: 1 | 3, preview: boolean}} options
   * @returns {Promise<Answer>}
   */
  async #answer(picture, prompt, { candidates, preview }) {
    const start = performance.now();
    this.#hurried = false;
    const wanted = isLoneClick(prompt) || candidates === 3 ? CANDIDATES : [0];
    const { found, runs, complete } = await this.#climb(picture, prompt, wanted, preview);
    const masks = found.map((mask) => corrected(mask, prompt)).filter((mask) => !isEmpty(mask, picture.size));
    return { masks, best: bestOf(masks), ms: performance.now() - start, runs, complete };
  }

  /**
   * Ask at the finest magnification, and at the next ones while the answer is cut off or doubtful.
   *
   * A preview that is doubtful but whole, as over the ground between objects, leaves it at that when a newer one waits.
   *
   * @param {Picture} picture
   * @param {Prompt} prompt
   * @param {number[]} wanted
   * @param {boolean} preview
   */
  async #climb(picture, prompt, wanted, preview) {
    const { rules } = this.meta;
    const doubt = isLoneClick(prompt) ? rules.doubt : 0;
    const views = viewsFor(picture.views, prompt);
    /** @type {Mask[]} */
    let found = [];
    for (let runs = 1; ; runs++) {
      const masks = await this.#ask(picture, views[runs - 1], prompt, wanted);
      const before = found[bestOf(found)];
      const after = masks[bestOf(masks)];
      // Inside a large even object a close view shows nothing but more of it: only a far better answer replaces one
      // that is whole.
      if (!before || isCut(before, picture.size) || after.score > before.score + rules.far_better) found = masks;
      const best = found[bestOf(found)];
      const cut = isCut(best, picture.size);
      if (runs === views.length || (!cut && best.score >= doubt)) return { found, runs, complete: true };
      if (preview && !cut && (await this.#isHurried())) return { found, runs, complete: false };
    }
  }

  /** Let messages in, and tell whether `hurry` was among them. */
  async #isHurried() {
    await new Promise((resolve) => setTimeout(resolve));
    return this.#hurried;
  }

  /** @param {Picture} picture @param {View} view @param {Prompt} prompt @param {number[]} wanted */
  async #ask(picture, view, prompt, wanted) {
    const { rules } = this.meta;
    const placed = promptInto(prompt, view);
    const corner = windowFor(placed, picture.grid(view), rules);
    const coded = codePrompt(placed, corner, rules);
    const [tokens, fine4, fine2] = picture.window(view, corner);
    const inputs = { tokens, fine4, fine2, points: coded.points, codes: coded.codes, previous: coded.previous };
    const outputs = await this.session.run(this.#tensors(inputs, coded.codes.length));
    const box = /** @type {Box} */ (regionOf(corner, rules).map((edge) => edge * view.shrink));
    return wanted.map((i) => ({
      logits: unnested(outputs.logits.data, i, coded.side),
      width: coded.side,
      height: coded.side,
      box,
      score: outputs.scores.data[i],
    }));
  }

  /** @param {Record<string, Float32Array | Int32Array>} inputs @param {number} count  of coded points */
  #tensors(inputs, count) {
    return Object.fromEntries(
      Object.entries(this.meta.inputs).map(([name, shape]) => [
        name,
        new this.ort.Tensor(name === "codes" ? "int32" : "float32", inputs[name], shape.map((n) => (n === "n" ? count : n))),
      ]),
    );
  }

  /** Free the memory of the runtime. */
  release() {
    return this.#turn.then(() => this.session.release());
  }
}

/**
 * Return which mask has the highest score, the first of equal ones; -1 of none.
 *
 * @param {Mask[]} masks
 */
function bestOf(masks) {
  return masks.reduce((best, mask, i) => (best < 0 || mask.score > masks[best].score ? i : best), -1);
}

/**
 * Lay one of the masks out as rows and columns.
 *
 * @param {Float32Array} nested  token by token, four masks to a cell
 * @param {number} mask
 * @param {number} side
 */
function unnested(nested, mask, side) {
  const parts = nestedParts(2);
  const out = new Float32Array(side * side);
  let from = mask;
  for (let top = 0; top < side; top += 4) {
    for (let left = 0; left < side; left += 4) {
      for (const [x, y] of parts) {
        out[(top + y) * side + left + x] = nested[from];
        from += 4;
      }
    }
  }
  return out;
}

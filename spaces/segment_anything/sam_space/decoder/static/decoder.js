// @ts-check
/**
 * The decoder in the browser: previews without a server.
 *
 *     const decoder = await Decoder.load({ onnxUrl, ortUrl, meta });
 *     await decoder.setEmbedding(features, featuresMeta);
 *     const answer = await decoder.decode({ points: [[x, y, 1]] });
 *     const preview = await decoder.preview({ points: [[x, y, 1]] }); // null when a newer one was asked for
 *     const { x, y, width, height, data } = draw(answer.masks[answer.best], picture);
 *
 * All x, y are in pixels of the picture. A point with integer coordinates is the centre of a pixel, so a pointer that is
 * u pixels from the left edge of the picture is at x = u - 0.5; boxes are half-open and lie on the edges of pixels.
 *
 * @typedef {import("./engine.js").Answer} Answer
 * @typedef {import("./engine.js").LoadOptions} LoadOptions
 * @typedef {import("./features.js").FeaturesMeta} FeaturesMeta
 * @typedef {import("./prompt.js").Asked} Asked
 *
 * @typedef {object} Waiting
 * @property {Asked} asked
 * @property {(answer: Answer | null) => void} resolve
 * @property {(reason: unknown) => void} reject
 */
export { draw, positiveRegion, upsample } from "./logits.js";
import { Engine } from "./engine.js";

export class Decoder {
  /** @type {(task: string, ...given: any[]) => Promise<any>} */
  #call;
  /** @type {() => void} */
  #stop;
  /** @type {Waiting | null} */
  #waiting = null;
  #busy = false;
  #hurried = false;
  #pictures = 0;

  /**
   * Use `Decoder.load`.
   *
   * @param {(task: string, ...given: any[]) => Promise<any>} call
   * @param {() => void} stop
   */
  constructor(call, stop) {
    this.#call = call;
    this.#stop = stop;
  }

  /**
   * Load runtime and decoder; rejects where the browser cannot run them, and the server is to be asked then.
   *
   * @param {LoadOptions & {worker?: boolean}} options  `worker: false` computes in the page itself, which then stands
   *   still for as long as an answer takes
   * @returns {Promise<Decoder>}
   */
  static async load({ worker = true, ...options }) {
    const absolute = (/** @type {string} */ url) => new URL(url, document.baseURI).href;
    const given = { ...options, onnxUrl: absolute(options.onnxUrl), ortUrl: absolute(options.ortUrl) };
    if (!worker) {
      const engine = await Engine.load(given);
      const call = async (/** @type {string} */ task, /** @type {any[]} */ ...args) => /** @type {any} */ (engine)[task](...args);
      return new Decoder(call, () => void engine.release());
    }
    const decoder = inWorker();
    try {
      await decoder.#call("load", given);
    } catch (error) {
      decoder.release();
      throw error;
    }
    return decoder;
  }

  /**
   * Take another picture. Previews of the one before are dropped from now on.
   *
   * @param {ArrayBuffer | Uint8Array} features  what `features_of` wrote
   * @param {FeaturesMeta} meta
   * @returns {Promise<void>}
   */
  async setEmbedding(features, meta) {
    this.#pictures++;
    this.#waiting?.resolve(null);
    this.#waiting = null;
    await this.#call("setEmbedding", features, meta);
  }

  /**
   * Answer a prompt as `sam_core.segment` does: the three candidates of a lone click, one mask for any other prompt.
   *
   * @param {Asked} asked
   * @param {{candidates?: 1 | 3}} [options]  3 for three candidates of any prompt
   * @returns {Promise<Answer>}
   */
  decode(asked, options = {}) {
    return this.#call("decode", asked, options);
  }

  /**
   * Answer the latest of many prompts, as a moving pointer asks them.
   *
   * One is computed at a time and one waits. A newer prompt takes the place of the one that waits, whose answer is then
   * null. What is being computed is given: a pointer that never rests would else never see anything. But where it is
   * doubtful, as over the ground between objects, it is given without a look from further away (`complete` is false).
   * The prompt that no other one follows is answered as `decode` answers it.
   *
   * @param {Asked} asked
   * @returns {Promise<Answer | null>} null where a newer prompt or another picture came first
   */
  preview(asked) {
    this.#waiting?.resolve(null);
    return new Promise((resolve, reject) => {
      this.#waiting = { asked, resolve, reject };
      if (this.#busy) this.hurry();
      else void this.#work();
    });
  }

  /** Tell the preview that is being computed that it is out of date: see `preview`. */
  hurry() {
    if (!this.#busy || this.#hurried) return;
    this.#hurried = true;
    this.#call("hurry").catch(() => {}); // whoever waits for the answer is told what is wrong
  }

  /** Forget the prompt that waits, as when the pointer leaves the picture. */
  cancel() {
    this.#waiting?.resolve(null);
    this.#waiting = null;
  }

  /** Stop, and free all memory. */
  release() {
    this.cancel();
    this.#stop();
  }

  async #work() {
    this.#busy = true;
    while (this.#waiting) {
      const { asked, resolve, reject } = this.#waiting;
      const picture = this.#pictures;
      this.#waiting = null;
      this.#hurried = false;
      try {
        const answer = await this.#call("decode", asked, { preview: true });
        resolve(picture === this.#pictures ? answer : null);
      } catch (error) {
        reject(error);
      }
    }
    this.#busy = false;
  }
}

/** Start a worker; its answers come back in any order, each with the number of its question. */
function inWorker() {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  /** @type {Map<number, {resolve: (result: any) => void, reject: (error: Error) => void}>} */
  const asked = new Map();
  let count = 0;
  let broken = "";
  const fail = (/** @type {string} */ message) => {
    broken = message;
    for (const { reject } of asked.values()) reject(new Error(message));
    asked.clear();
  };
  worker.addEventListener("message", ({ data: { id, result, error } }) => {
    const question = asked.get(id);
    asked.delete(id);
    if (error === undefined) question?.resolve(result);
    else question?.reject(new Error(error));
  });
  worker.addEventListener("error", (event) => fail(event.message || "got no worker, expected worker.js beside decoder.js"));
  const call = (/** @type {string} */ task, /** @type {any[]} */ ...given) =>
    new Promise((resolve, reject) => {
      if (broken) throw new Error(broken);
      asked.set(++count, { resolve, reject });
      worker.postMessage({ id: count, task, given });
    });
  return new Decoder(call, () => {
    worker.terminate();
    fail("the decoder was released");
  });
}

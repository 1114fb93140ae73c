// @ts-check
/** Runs an `Engine` beside the page, which stays smooth while it computes. Messages are those of `decoder.js`. */
import { Engine } from "./engine.js";

/** @type {Engine | null} */
let engine = null;

/** @type {Record<string, (...given: any[]) => any>} */
const tasks = {
  async load(options) {
    engine = await Engine.load(options);
  },
  setEmbedding: (content, meta) => engine?.setEmbedding(content, meta),
  decode: (asked, options) => engine?.decode(asked, options),
  hurry: () => engine?.hurry(),
};

self.addEventListener("message", async ({ data: { id, task, given } }) => {
  try {
    self.postMessage({ id, result: await tasks[task](...given) });
  } catch (error) {
    self.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
});

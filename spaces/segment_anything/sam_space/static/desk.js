// The server, as the page sees it. Every request shows the key of this visit.

export class Refused extends Error {
  name = "Refused";
}

export class Desk {
  constructor(base) {
    this.base = base;
    this.key = "";
    this.begun = new Map(); // answers that came before anybody asked
  }

  address(path) {
    return new URL(path, this.base);
  }

  visit() {
    return (this.visiting ??= this.visited());
  }

  async visited() {
    const about = await this.post("visit");
    this.key = about.visitor;
    this.first(about);
    // The page is gone: so is all that was brought.
    addEventListener("pagehide", () => navigator.sendBeacon(this.address("leave"), this.key));
    // A page that the browser kept and shows again would have nothing behind it.
    addEventListener("pageshow", (e) => e.persisted && location.reload());
    return about;
  }

  // The example that is open first comes with the visit: while gradio starts, each way to the server takes long.
  first({ first, examples }) {
    if (!first) return;
    this.expect("example", { name: examples[0].name }, Response.json(first.opened));
    this.expect("encode", { plane: 0 }, new Response(JSON.stringify(first.encoded) + "\n"));
    const bytes = Uint8Array.from(atob(first.png), (letter) => letter.charCodeAt(0));
    this.expect("picture", { plane: 0 }, new Response(bytes, { headers: { "content-type": "image/png" } }));
  }

  // Keeps an answer to what will be asked soon.
  expect(path, body, answer) {
    this.begun.set(path + JSON.stringify(body), answer);
  }

  async send(path, body, options = {}) {
    const key = path + JSON.stringify(body);
    const begun = this.begun.get(key);
    this.begun.delete(key);
    if (begun) return begun;
    if (path === "open" || path === "example") this.begun.clear(); // it was about another picture
    return this.asked(path, body, options);
  }

  async asked(path, body, options = {}) {
    const headers = { "x-visitor": this.key, ...(options.headers ?? {}) };
    const raw = body instanceof Blob;
    const answer = await fetch(this.address(path), {
      method: "POST",
      headers,
      body: raw ? body : JSON.stringify(body ?? {}),
      signal: options.signal,
    });
    if (!answer.ok) {
      const told = await answer.json().catch(() => ({}));
      throw new Refused(told.refused ?? `the server answered ${answer.status}`);
    }
    return answer;
  }

  async post(path, body, options) {
    const told = await (await this.send(path, body, options)).json();
    if (told.refused) throw new Refused(told.refused);
    return told;
  }

  async blob(path, body) {
    const answer = await this.send(path, body);
    if ((answer.headers.get("content-type") ?? "").startsWith("application/json")) {
      const content = await answer.clone().json();
      if (content.refused) throw new Refused(content.refused);
    }
    const name = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") ?? "");
    return { blob: await answer.blob(), name: name ? name[1] : "download" };
  }

  // A plane encoded, for the decoder in the browser: what it is, and its bytes.
  async features(plane, signal) {
    const answer = await this.send("features", { plane }, { signal });
    if ((answer.headers.get("content-type") ?? "").startsWith("application/json")) {
      throw new Refused((await answer.json()).refused ?? "there are no features");
    }
    const content = await answer.arrayBuffer();
    const size = new DataView(content).getUint32(0, true);
    const meta = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 4, size)));
    return { meta, content: new Uint8Array(content, 4 + size) };
  }

  // Long work: each line it tells goes to `tell`; returns the last one.
  async lines(path, body, tell, signal) {
    const reader = (await this.send(path, body, { signal })).body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    let last = {};
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        last = JSON.parse(line);
        if (last.refused) throw new Refused(last.refused);
        tell(last);
      }
    }
    return last;
  }
}

let here = null;

// The desk of this page. It is greeted at once: gradio still loads a while until there is a page to show it on.
export function deskAt(base) {
  if (!here) {
    here = new Desk(base);
    here.visit().catch(() => {}); // who waits for it is told
  }
  return here;
}

// The server, as the page sees it. Every request shows the key of this visit.

export class Refused extends Error {
  name = "Refused";
}

export class Desk {
  constructor(base) {
    this.base = base;
    this.key = "";
  }

  address(path) {
    return new URL(path, this.base);
  }

  async visit() {
    const about = await this.post("visit");
    this.key = about.visitor;
    // The page is gone: so is all that was brought.
    addEventListener("pagehide", () => navigator.sendBeacon(this.address("leave"), this.key));
    // A page that the browser kept and shows again would have nothing behind it.
    addEventListener("pageshow", (e) => e.persisted && location.reload());
    return about;
  }

  async send(path, body, options = {}) {
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

// The menu of models: what each is, what it needs, how far it is, and the way to another one.

const POLL = 1500; // ms between two looks at what the Hub says
const UNITS = [[1e9, "GB", 1], [1e6, "MB", 0], [1e3, "kB", 0]];
const size = (bytes) => {
  const [unit, name, digits] = UNITS.find(([unit]) => bytes >= unit) ?? UNITS.at(-1);
  return `${(bytes / unit).toFixed(digits)} ${name}`;
};
const STAGES = { asking: "Asking the Hub", fetching: "Downloading", loading: "Loading", trying: "Trying it out", waiting: "Waiting" };

export class ModelMenu {
  constructor(panel, button, desk, { chosen, tell }) {
    Object.assign(this, { panel, button, desk, chosen, tell });
    this.model = "";
    this.entries = [];
    this.loading = null; // {name, control, stage, done, total}
    addEventListener("pointerdown", (e) => {
      if (this.isOpen && !panel.contains(e.target) && !button.contains(e.target)) this.close();
    });
    panel.addEventListener("keydown", (e) => {
      if (e.key !== "Escape") return;
      e.stopPropagation();
      this.close();
      button.focus();
    });
  }

  begin(model, count) {
    this.model = model;
    this.button.hidden = count < 2;
    this.show();
  }

  get isOpen() {
    return !this.panel.hidden;
  }

  toggle() {
    if (this.isOpen) this.close();
    else this.open();
  }

  open() {
    this.panel.hidden = false;
    this.button.setAttribute("aria-expanded", "true");
    this.list();
    this.ask().then(() => this.panel.querySelector("[aria-current] button, li button")?.focus({ preventScroll: true }));
  }

  close() {
    clearTimeout(this.again);
    this.panel.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
  }

  async ask() {
    clearTimeout(this.again);
    try {
      const { models, hub } = await this.desk.post("models");
      this.entries = models;
      this.panel.querySelector(".hub").textContent = hub;
      this.panel.querySelector(".hub").hidden = !hub;
    } catch (error) {
      this.tell(error.message, true);
      return;
    }
    this.list();
    const unsettled = this.entries.some((each) => each.state === "asking" || each.state === "loading");
    if (this.isOpen && unsettled) this.again = setTimeout(() => this.ask(), POLL);
  }

  // The server says that another model answers than was thought.
  fell(model) {
    this.model = model;
    this.show();
    this.chosen({ model });
  }

  async choose(each) {
    if (this.loading) {
      this.tell(`${this.loading.title} is being loaded; cancel that first.`, true);
      return;
    }
    const control = new AbortController();
    this.loading = { name: each.name, title: each.title, control, stage: each.state === "loaded" ? "" : "asking" };
    this.show();
    this.list();
    try {
      const told = await this.desk.lines("model", { name: each.name }, (line) => this.told(line), control.signal);
      if (told.stopped) this.tell(`${each.title} was not loaded: it was stopped.`);
      else this.changed(each, told);
    } catch (error) {
      if (error.name === "AbortError") this.tell(`Stopped: ${each.title} was not loaded, and ${this.model} goes on.`);
      else this.tell(error.message, true);
    }
    this.loading = null;
    this.show();
    if (this.isOpen) await this.ask();
  }

  changed(each, told) {
    this.model = told.model;
    this.chosen(told);
    this.tell(`${each.title} answers from now on. Your objects stay.`);
    this.close();
    this.button.focus();
  }

  told(line) {
    if (!line.stage) return;
    Object.assign(this.loading, { done: 0, total: 0, for: "" }, line);
    this.show();
    const row = this.panel.querySelector(`[data-model="${CSS.escape(this.loading.name)}"] .way`);
    row?.replaceWith(this.way(this.loading));
  }

  show() {
    this.button.querySelector(".label").textContent = this.model.split("/").at(-1);
    this.button.classList.toggle("loading", this.loading !== null);
    this.button.dataset.model = this.model;
  }

  list() {
    const list = this.panel.querySelector("ul");
    const focused = document.activeElement?.closest?.("[data-model]")?.dataset.model;
    list.replaceChildren(...this.entries.map((each) => this.row(each)));
    if (focused) list.querySelector(`[data-model="${CSS.escape(focused)}"] button`)?.focus({ preventScroll: true });
  }

  row(each) {
    const present = each.name === this.model;
    const mine = this.loading?.name === each.name;
    const row = document.createElement("li");
    Object.assign(row.dataset, { model: each.name, state: present ? "present" : each.state });
    if (present) row.setAttribute("aria-current", "true");
    const facts = [
      each.parameters && `${each.parameters} M parameters`,
      each.bytes && `${each.exact || each.name === "cell" ? "" : "about "}${size(each.bytes)}`,
      each.state !== "loaded" && `${size(each.memory)} of memory`,
      each.licence && `licence ${each.licence}`,
    ].filter(Boolean);
    row.append(
      text("b", each.title),
      ...(each.title === each.name ? [] : [text("code", each.name)]),
      text("p", each.about),
      some("small", facts),
    );
    if (mine && this.loading.stage) row.append(this.way(this.loading));
    else if (each.why) row.append(text("p", sentence(each), "why"));
    row.append(this.deed(each, present, mine));
    return row;
  }

  deed(each, present, mine) {
    if (present) return text("span", "answers now", "state");
    const button = document.createElement("button");
    button.className = "button small";
    if (mine) {
      button.textContent = "Cancel";
      button.addEventListener("click", () => this.loading?.control.abort());
      return button;
    }
    button.textContent = {
      loaded: "Use", here: "Load", failed: "Try again", away: "Try again", loading: "Join", large: "Too large",
    }[each.state] ?? "Download";
    button.disabled = each.state === "large";
    button.ariaLabel = `${button.textContent} ${each.title}`;
    button.addEventListener("click", () => this.choose(each));
    return button;
  }

  // How far a model is on its way.
  way({ stage, done, total, for: before }) {
    const way = text("div", "", "way");
    const bar = document.createElement("progress");
    if (stage === "fetching" && total) Object.assign(bar, { max: total, value: done });
    const far = stage === "fetching" && total ? `: ${size(done)} of ${size(total)}` : "";
    way.append(bar, text("small", (before ? `Waiting for ${before}` : STAGES[stage] ?? "") + far));
    way.setAttribute("role", "status");
    return way;
  }
}

// Facts with dots between them, none broken at the end of a line.
function some(kind, facts) {
  const made = document.createElement(kind);
  facts.forEach((fact, i) => made.append(...(i ? [" · "] : []), text("span", fact)));
  return made;
}

// The name of a model is written as it is, also where it begins a sentence.
function sentence({ name, why }) {
  return why.startsWith(name) ? why : why[0].toUpperCase() + why.slice(1);
}

// What others wrote is text, never markup.
function text(kind, words, name = "") {
  const made = document.createElement(kind);
  made.textContent = words;
  if (name) made.className = name;
  return made;
}

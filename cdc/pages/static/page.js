// Small helps; every page works without them.
"use strict";

(() => {
  document.querySelector("form[data-send-now]")?.requestSubmit();

  const root = document.documentElement;
  const kept = localStorage.getItem("theme");
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;

  // Where the server knows no zone of FacturaScripts, times are shown in the browser's from the next page on.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const framed = window.top !== window && location.protocol === "https:"; // there Lax cookies do not work
  const site = framed ? "None; Secure; Partitioned" : "Lax";
  if (zone) document.cookie = `cdc_zone=${zone}; path=/; SameSite=${site}; max-age=31536000`;

  document.querySelectorAll("[data-theme-switch]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => {
      const dark = root.dataset.theme === "dark" || (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
      root.dataset.theme = dark ? "light" : "dark";
      localStorage.setItem("theme", root.dataset.theme);
    });
  });

  const offerCopies = (part) => part.querySelectorAll("[data-copy], [data-copy-text]").forEach((button) => {
    if (!navigator.clipboard) return;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      await navigator.clipboard.writeText(button.dataset.copyText ?? source.value ?? source.textContent);
      button.textContent = button.dataset.copied;
    });
  });
  offerCopies(document);

  // Filters are folded in a narrow window, unless one is set.
  document.querySelectorAll("details[data-fold]").forEach((filters) => {
    const given = [...new URLSearchParams(location.search).values()].some(Boolean);
    if (matchMedia("(max-width: 40rem)").matches && !given) filters.open = false;
  });

  // Search from anywhere: Ctrl-K.
  addEventListener("keydown", (event) => {
    if (event.key !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
    const field = document.querySelector("[data-search]");
    if (!field) return;
    event.preventDefault();
    const menu = document.querySelector("details.menu");
    if (menu.checkVisibility()) menu.open = true;
    field.focus();
    field.select();
  });

  const plain = (text) => text.toLowerCase().normalize("NFD").replace(/\p{M}/gu, "");

  // A field that narrows a list as one types, by words in any order; groups without a hit are hidden, groups with one are opened.
  document.querySelectorAll("input[data-filter]").forEach((field) => {
    const list = document.getElementById(field.dataset.filter);
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && field.form?.method === "post") event.preventDefault(); // it narrows, it sends nothing
    });
    field.addEventListener("input", () => {
      const wanted = plain(field.value).split(/\s+/).filter(Boolean);
      list.querySelectorAll("[data-filter-text]").forEach((each) => {
        const text = plain(each.textContent + each.dataset.filterText);
        each.hidden = !wanted.every((word) => text.includes(word));
      });
      list.querySelectorAll("[data-filter-group]").forEach((group) => {
        const hits = group.querySelectorAll("[data-filter-text]:not([hidden])").length;
        group.hidden = hits === 0;
        if (group.tagName === "DETAILS" && wanted.length) group.open = hits > 0;
      });
    });
  });

  // Patterns show which events they select: the boxes are ticked, and locked until the pattern goes.
  const patterns = document.getElementById("patterns");
  if (patterns) {
    const unchanged = ["existing", "read"];
    const fits = (pattern, name) => {
      const last = name.slice(name.lastIndexOf(".") + 1);
      if (unchanged.includes(last) && !pattern.endsWith(last)) return false;
      const parts = pattern.split("*").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
      return new RegExp(`^${parts.join(".*")}$`).test(name);
    };
    const boxes = [...document.querySelectorAll("#event-tree input[name=events]:not([data-pattern])")];
    const wholes = [...document.querySelectorAll("#event-tree input[data-pattern]")];
    const show = () => {
      const words = patterns.value.split(/[\s,]+/).filter(Boolean);
      const chosen = [...wholes.filter((box) => box.checked).map((box) => box.value), ...words];
      boxes.forEach((box) => {
        if (!("by" in box.dataset) && !box.disabled) box.toggleAttribute("data-own", box.checked);
        const by = chosen.find((pattern) => (pattern !== "*" || "row" in box.dataset) && fits(pattern, box.value));
        box.disabled = by !== undefined;
        box.toggleAttribute("data-by", box.disabled);
        box.checked = box.disabled || "own" in box.dataset;
        const text = box.parentElement.querySelector("[data-by-text]");
        text.textContent = box.disabled ? `${text.dataset.byText.replace("%(pattern)s", by)} · ` : "";
      });
      document.querySelectorAll("#event-tree details").forEach((group) => {
        const number = group.querySelectorAll("input:not([data-pattern]):checked").length;
        const text = group.querySelector("[data-chosen]");
        text.textContent = number ? ` · ${text.dataset.chosen.replace("%(number)s", String(number))}` : "";
      });
    };
    document.getElementById("event-tree").addEventListener("change", show);
    patterns.addEventListener("input", show);
  }

  const unmodified = (event) => event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
  const fetched = async (path) => {
    const answer = await fetch(path, { headers: { Accept: "text/html" } });
    return answer.ok && !answer.redirected ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
  };

  // The newest rows, asked for again whenever the server says that there is something new.
  const goLive = (line, path) => {
    if (new URL(path).searchParams.has("before")) return () => {};
    const part = document.getElementById(line.dataset.livePart);
    const say = (text) => { line.hidden = false; line.textContent = text; };
    let busy = false;
    let pressed = false; // a row that is replaced between press and release takes the click along
    part.addEventListener("pointerdown", () => { pressed = true; });
    ["pointerup", "pointercancel"].forEach((end) => addEventListener(end, () => setTimeout(() => { pressed = false; })));
    const busyWith = (element) => part.contains(element) && !element.matches("[data-open]"); // whose focus is restored
    const inUse = () => pressed || document.hidden || !getSelection().isCollapsed || busyWith(document.activeElement)
      || part.querySelector("input:checked") !== null;
    let lookedAt = performance.now();
    const look = async () => {
      if (busy || inUse() || performance.now() - lookedAt < 1000 * line.dataset.liveEvery) return;
      busy = true;
      lookedAt = performance.now();
      try {
        const page = await fetched(path);
        const rows = page?.getElementById(part.id);
        if (!rows || inUse()) return;
        const focused = part.contains(document.activeElement) && document.activeElement.getAttribute("href");
        part.replaceChildren(...rows.childNodes);
        if (focused) part.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
        part.dispatchEvent(new Event("renewed", { bubbles: true }));
        const counts = page.querySelectorAll(".health");
        document.querySelectorAll(".health").forEach((each, number) => each.replaceWith(counts[number]));
        offerCopies(part);
      } catch {
        say(line.dataset.paused);
      } finally {
        busy = false;
      }
    };
    part.addEventListener("grown", () => say(line.dataset.paused));
    const source = new EventSource(line.dataset.live);
    source.addEventListener("message", (message) => {
      const { number } = JSON.parse(message.data);
      if ("grown" in part.dataset) return;
      say(number > 1 ? line.dataset.rate.replace("%(number)s", String(number)) : line.dataset.quiet);
      look();
    });
    source.addEventListener("error", () => say(line.dataset.paused));
    addEventListener("pagehide", () => source.close());
    return () => source.close();
  };
  document.querySelectorAll("[data-live]").forEach((line) => goLive(line, location.href));

  // The next page of a list is added to it.
  document.addEventListener("click", async (event) => {
    const more = event.target.closest("a[data-more]");
    const part = more?.closest("#rows");
    const table = part?.querySelector("table");
    if (!table || !unmodified(event)) return;
    event.preventDefault();
    const page = await fetched(more.href).catch(() => null);
    const next = page?.querySelector("#rows");
    if (!next) { location.href = more.href; return; }
    const rows = [...next.querySelectorAll("tbody > tr")];
    table.tBodies[0].append(...rows);
    part.dataset.grown = ""; // rows that are asked for again would drop these
    part.dispatchEvent(new Event("grown"));
    part.querySelector(".searched")?.remove();
    more.closest("nav").before(...next.querySelectorAll(".searched"));
    const further = next.querySelector("a[data-more]");
    if (further) more.replaceWith(further); else more.remove();
    rows[0]?.querySelector("a[data-open]")?.focus();
  });

  // A row opens beside its list; j and k go along the rows, Esc closes.  The address is then that of what is open.
  const list = document.querySelector("[data-panel]");
  const links = () => [...list.querySelectorAll("[data-open]")];
  let opened = null;
  let rest = () => {}; // ends the news of what is open
  let asked = 0; // the newest request: of several rows passed quickly the last one is shown
  const mark = () => links().forEach((link) => {
    if (opened && link.href === opened.dataset.of) link.closest("tr").setAttribute("aria-current", "true");
    else link.closest("tr").removeAttribute("aria-current");
  });
  const shut = () => {
    const link = links().find((each) => each.href === opened.dataset.of);
    rest();
    opened.remove();
    opened = null;
    list.classList.remove("with-panel");
    document.title = list.dataset.title;
    mark();
    link?.focus();
  };
  const open = async (path, remember) => {
    const number = ++asked;
    const page = await fetched(path).catch(() => null);
    const content = page?.getElementById("content");
    if (number !== asked) return;
    if (!content) { location.href = path; return; }
    list.dataset.title ??= document.title;
    const close = Object.assign(document.createElement("button"), { type: "button", textContent: "×", className: "close" });
    close.setAttribute("aria-label", list.dataset.close);
    close.addEventListener("click", () => history.back());
    const panel = Object.assign(document.createElement("aside"), { className: "panel", tabIndex: -1 });
    panel.setAttribute("aria-label", content.querySelector("h1").textContent);
    panel.dataset.of = path;
    panel.append(close, ...content.childNodes);
    if (remember && !opened) history.replaceState({ list: true }, "");
    if (remember) history[opened ? "replaceState" : "pushState"]({ open: path }, "", path);
    rest();
    opened?.remove();
    opened = panel;
    list.append(panel);
    const line = panel.querySelector("[data-live]");
    rest = line ? goLive(line, path) : () => {};
    list.classList.add("with-panel");
    document.title = page.title;
    offerCopies(panel);
    mark();
    links().find((each) => each.href === path)?.scrollIntoView({ block: "nearest" });
    panel.focus({ preventScroll: true });
  };
  const wide = matchMedia("(min-width: 60rem)");
  list?.addEventListener("click", (event) => {
    const link = event.target.closest("a, button, input, label") ?? event.target.closest("tbody tr")?.querySelector("[data-open]");
    if (!link?.matches("[data-open]") || !unmodified(event) || !getSelection().isCollapsed) return;
    if (!wide.matches) { if (event.target !== link) link.click(); return; }
    event.preventDefault();
    open(link.href, true);
  });
  list?.addEventListener("renewed", mark);
  addEventListener("popstate", (event) => {
    if (list && event.state?.open) open(event.state.open, false);
    else if (opened) { asked += 1; shut(); }
    else if (!list && event.state?.list) location.reload(); // what was open was loaded again by itself
  });
  addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
    if (!list || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && opened) history.back();
    if (event.key !== "j" && event.key !== "k") return;
    const every = links();
    const row = document.activeElement.closest("tr")?.querySelector("[data-open]");
    const at = opened ? every.findIndex((each) => each.href === opened.dataset.of) : every.indexOf(row);
    const next = every[event.key === "j" ? at + 1 : Math.max(at - 1, 0)];
    if (!next) return;
    if (opened) open(next.href, true); else next.focus();
  });
  document.querySelectorAll(".keys").forEach((hint) => { hint.hidden = !wide.matches; });

  // Rows that are chosen: all at once, and no sending of none.
  const choose = document.querySelector("[data-choose]");
  if (choose) {
    const boxes = () => [...document.querySelectorAll(`input[name="${choose.dataset.choose}"]`)];
    const button = choose.form.querySelector("[data-of-chosen]");
    const count = () => {
      const chosen = boxes().filter((box) => box.checked).length;
      button.disabled = !chosen;
      button.dataset.number = chosen || "";
      choose.checked = chosen > 0 && chosen === boxes().length;
      choose.indeterminate = chosen > 0 && !choose.checked;
    };
    choose.hidden = false;
    choose.addEventListener("change", () => { boxes().forEach((box) => { box.checked = choose.checked; }); count(); });
    list.addEventListener("change", count);
    list.addEventListener("renewed", count);
    addEventListener("pageshow", count);
    count();
  }

  // Filters of a list by name, in this browser.
  document.querySelectorAll("[data-saved]").forEach((part) => {
    const { saved: path, user, ask, remove } = part.dataset;
    const key = `filters:${user}:${path}`;
    const read = () => JSON.parse(localStorage.getItem(key) ?? "[]");
    const write = (found) => { localStorage.setItem(key, JSON.stringify(found)); show(); };
    const given = new URLSearchParams([...new URLSearchParams(location.search)]
      .filter(([name, value]) => value && !["before", "notice", "sent", "refused"].includes(name)));
    const show = () => {
      const found = read();
      part.querySelector("ul").replaceChildren(...found.map(([name, query], number) => {
        const link = Object.assign(document.createElement("a"), { textContent: name, href: `${path}?${query}` });
        if (query === String(given)) link.setAttribute("aria-current", "page");
        const drop = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
        drop.setAttribute("aria-label", `${remove} ${name}`);
        drop.addEventListener("click", () => write(read().filter((_, each) => each !== number)));
        const item = document.createElement("li");
        item.append(link, drop);
        return item;
      }));
      const save = part.querySelector(":scope > button");
      save.hidden = !String(given) || found.some(([, query]) => query === String(given));
      part.hidden = save.hidden && !found.length;
    };
    part.querySelector(":scope > button").addEventListener("click", () => {
      const name = prompt(ask)?.trim().slice(0, 60);
      if (name) write([...read(), [name, String(given)]].slice(-20));
    });
    show();
  });

  // The values of a plot, by pointer and by the arrow keys; a screen reader reads them as those of a slider.
  document.querySelectorAll("svg[data-plot]").forEach((plot) => {
    const slots = [...plot.querySelectorAll(".slot")];
    const readout = plot.parentElement.querySelector(".readout");
    let at = slots.length - 1;
    const show = (number) => {
      slots[at].classList.remove("on");
      at = Math.min(Math.max(number, 0), slots.length - 1);
      slots[at].classList.add("on");
      readout.textContent = slots[at].textContent;
      plot.setAttribute("aria-valuenow", at);
      plot.setAttribute("aria-valuetext", slots[at].textContent);
    };
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -slots.length, End: slots.length };
    plot.tabIndex = 0;
    plot.setAttribute("role", "slider");
    plot.setAttribute("aria-valuemin", 0);
    plot.setAttribute("aria-valuemax", at);
    plot.setAttribute("aria-valuenow", at);
    plot.setAttribute("aria-valuetext", slots[at].textContent);
    plot.addEventListener("focus", () => show(at));
    plot.addEventListener("keydown", (event) => {
      if (!(event.key in steps)) return;
      event.preventDefault();
      show(at + steps[event.key]);
    });
    plot.addEventListener("pointermove", (event) => {
      const number = slots.indexOf(event.target.closest(".slot"));
      if (number >= 0) show(number);
    });
  });

  // A preview or a test is shown in its form, which keeps what was entered; what is refused is sent again, for its page.
  document.querySelectorAll("form[data-result]").forEach((form) => {
    let refused = false;
    form.addEventListener("submit", async (event) => {
      if (refused || !["preview", "try"].includes(event.submitter?.name)) return;
      event.preventDefault();
      const body = new URLSearchParams(new FormData(form, event.submitter));
      sent(form, true);
      const answer = await fetch(form.action, { method: "POST", body });
      sent(form, false);
      const part = document.getElementById("result");
      refused = !answer.ok;
      if (refused) return form.requestSubmit(event.submitter);
      part.replaceChildren(...new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("result").childNodes);
      part.scrollIntoView({ block: "nearest" });
    });
  });

  // Also of forms in rows that were asked for again.
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
    else if (event.target.method === "post" && !event.defaultPrevented) setTimeout(() => sent(event.target, true)); // a second click does not do it twice
  });
  const sent = (form, disabled) => form.querySelectorAll(disabled ? "button:enabled" : "button[data-sent]").forEach((button) => {
    button.disabled = disabled;
    button.toggleAttribute("data-sent", disabled);
  });
  addEventListener("pageshow", () => document.querySelectorAll("form").forEach((form) => sent(form, false)));
})();

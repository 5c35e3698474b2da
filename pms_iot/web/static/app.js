// Live values on the page: numbers and ages change in place, lists are fetched anew as HTML by htmx.
"use strict";
(() => {
  const worker = document.currentScript.dataset.worker;
  const body = document.body;
  const [seconds, minutes, hours, days] = body.dataset.units.split("|");
  const newest = new Map(); // series -> [at ms, value, quality]
  let serverNow = Number(body.dataset.now);
  let heardAt = performance.now();

  function shown(value, names) {
    if (value === null || value === undefined) return "–";
    if (names && names[String(value)] !== undefined) return names[String(value)];
    if (Number.isInteger(value)) return String(value);
    const digits = Math.min(6, Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value)))));
    return String(Number(value.toFixed(digits)));
  }

  function ago(ms, bare) {
    const s = Math.max(0, ms) / 1000;
    const [size, text] = s >= 172800 ? [86400, days] : s >= 7200 ? [3600, hours] : s >= 120 ? [60, minutes] : [1, seconds];
    const age = text.replace("{n}", Math.floor(s / size));
    return bare ? age : body.dataset.ago.replace("{age}", age);
  }

  function showValues() {
    for (const element of document.querySelectorAll("[data-series]")) {
      const sample = newest.get(Number(element.dataset.series));
      if (!sample) continue;
      const names = element.dataset.names ? JSON.parse(element.dataset.names) : null;
      const text = shown(sample[1], names);
      if (element.textContent !== text) element.textContent = text;
      const old = clock() - sample[0] > Number(element.dataset.limit);
      element.classList.toggle("stale", sample[2] < 192 || old);
    }
  }

  function clock() { // the engine's, which in a demonstration runs faster than this computer's
    return serverNow + (performance.now() - heardAt);
  }

  function showAges() {
    const now = clock();
    for (const element of document.querySelectorAll("[data-age]")) {
      const known = element.dataset.age.split(" ").map((id) => newest.get(Number(id))?.[0] ?? 0);
      const at = Math.max(Number(element.dataset.at ?? 0), ...known);
      if (at) element.textContent = ago(now - at, "bare" in element.dataset);
    }
  }

  function setState(state) {
    const live = document.getElementById("live");
    if (!live || live.dataset.state === state) return;
    live.dataset.state = state;
    const words = live.dataset.words.split("|");
    live.querySelector(".word").textContent = { unknown: words[0], live: words[1], lost: words[2] }[state];
  }

  function receive(message) {
    if (message.kind === "lost") return setState("lost");
    if (message.kind === "changed") {
      for (const list of message.data) body.dispatchEvent(new CustomEvent(`${list}-changed`));
      return;
    }
    serverNow = message.data.now;
    heardAt = performance.now();
    for (const [series, at, value, quality] of message.data.values) newest.set(series, [at, value, quality]);
    setState("live");
    showValues();
    showAges();
    document.dispatchEvent(new CustomEvent("live-tick", { detail: message.data }));
  }

  function listenThroughWorker() {
    const shared = new SharedWorker(worker);
    shared.port.onmessage = (event) => receive(event.data);
    window.addEventListener("pagehide", () => shared.port.postMessage("bye"));
    window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  }

  function listenAlone() {
    let source = null;
    const open = () => {
      source = new EventSource("/api/v1/live");
      for (const kind of ["tick", "changed"]) {
        source.addEventListener(kind, (event) => receive({ kind, data: JSON.parse(event.data) }));
      }
      source.onerror = () => receive({ kind: "lost" });
    };
    // Without a shared worker every tab holds a connection, so hidden tabs give theirs up.
    document.addEventListener("visibilitychange", () => {
      source?.close();
      if (!document.hidden) open();
    });
    if (!document.hidden) open();
  }

  if ("SharedWorker" in window) listenThroughWorker(); else listenAlone();
  setInterval(showAges, 1000);
  document.addEventListener("htmx:after:swap", () => {
    showValues();
    const refusal = document.querySelector(".problem:not([data-seen])");
    if (!refusal) return;
    refusal.dataset.seen = "";
    refusal.scrollIntoView({ block: "center" }); // the button that was pressed may be far below
  });
  document.documentElement.classList.add("js"); // hides the buttons that serve readers without scripts
  document.addEventListener("change", (event) => { // filters and ticks apply at once
    if (event.target.form?.hasAttribute("data-auto")) event.target.form.requestSubmit();
  });
})();

// History charts: mean line, minimum-maximum band, expected band, limit and marked interval.
"use strict";
(() => {
  const FOLLOW_MS = 5000;
  const language = document.documentElement.lang;

  function colours() {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    return dark
      ? { ink: "#c3ccd5", grid: "#2c3640", line: "#7db7e8", range: "rgba(125,183,232,.25)", band: "rgba(160,170,180,.22)", edge: "#7d8894", mark: "rgba(255,138,143,.18)", limit: "#ff8a8f" }
      : { ink: "#4a545e", grid: "#e3e6e9", line: "#1c5f96", range: "rgba(28,95,150,.22)", band: "rgba(90,101,112,.16)", edge: "#8b95a0", mark: "rgba(179,18,29,.12)", limit: "#b3121d" };
  }

  function clockIn(zone, options) {
    const format = new Intl.DateTimeFormat("sv-SE", { timeZone: zone, hourCycle: "h23", ...options });
    return (seconds) => format.format(new Date(seconds * 1000));
  }

  function timeAxis(zone) { // 24 h in the site's zone; uPlot's own labels are American
    const date = clockIn(zone, { year: "numeric", month: "2-digit", day: "2-digit" });
    const day = (at) => date(at).slice(5); // 11-23
    const minute = clockIn(zone, { hour: "2-digit", minute: "2-digit" });
    const second = clockIn(zone, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    return (_plot, splits, _axis, _space, step) => splits.map((at) => {
      if (step >= 86400) return day(at);
      if (minute(at) === "00:00") return day(at);
      return step >= 60 ? minute(at) : second(at);
    });
  }

  function say(value, names) {
    if (value === null || value === undefined) return "–";
    if (names[String(value)] !== undefined) return names[String(value)];
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
  }

  function interval(figure, colour) {
    const from = Number(figure.dataset.markFrom) / 1000, to = Number(figure.dataset.markTo) / 1000;
    return ({ ctx, bbox, valToPos }) => {
      if (!from) return;
      const left = Math.max(bbox.left, valToPos(from, "x", true));
      const right = Math.min(bbox.left + bbox.width, valToPos(to, "x", true));
      ctx.save();
      ctx.fillStyle = colour.mark;
      ctx.fillRect(left, bbox.top, Math.max(right - left, 2), bbox.height);
      ctx.restore();
    };
  }

  function limitLine(figure, colour) {
    if (figure.dataset.limitLine === undefined) return () => {};
    const limit = Number(figure.dataset.limitLine);
    return ({ ctx, bbox, valToPos }) => {
      const y = Math.round(valToPos(limit, "y", true)) + 0.5;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = colour.limit;
      ctx.lineWidth = 1.5 * devicePixelRatio;
      ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
      ctx.beginPath(); ctx.moveTo(bbox.left, y); ctx.lineTo(bbox.left + bbox.width, y); ctx.stroke();
      ctx.font = `${12 * devicePixelRatio}px sans-serif`;
      ctx.textAlign = "left"; ctx.textBaseline = "bottom";
      ctx.fillText(`${figure.dataset.limitWord} ${limit}`, bbox.left + 6, y - 3);
      ctx.restore();
    };
  }

  function range(figure, coded) { // the limit belongs into the picture, with a little room around everything
    const limit = figure.dataset.limitLine === undefined ? null : Number(figure.dataset.limitLine);
    return (_plot, low, high) => {
      if (low === null) return [0, 1];
      let [from, to] = limit === null ? [low, high] : [Math.min(low, limit), Math.max(high, limit)];
      if (coded) return [Math.min(from, 0) - 0.2, Math.max(to, 1) + 0.2];
      const room = (to - from) * 0.08 || Math.abs(to) * 0.05 || 1;
      return [from - room, to + room];
    };
  }

  function options(figure, names, colour) {
    const zone = figure.dataset.zone;
    const coded = Object.keys(names).length > 0;
    const stepped = coded ? uPlot.paths.stepped({ align: 1 }) : undefined;
    const hidden = { stroke: "transparent", width: 0, points: { show: false }, paths: stepped };
    const edge = { ...hidden, stroke: colour.edge, width: 1, dash: [4, 4], spanGaps: true };
    const readout = figure.querySelector(".readout");
    const stamp = clockIn(zone, { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" });
    const ink = { stroke: colour.ink, grid: { stroke: colour.grid, width: 1 }, ticks: { stroke: colour.grid, width: 1 } };
    const widest = Math.max(0, ...Object.values(names).map((word) => word.length));
    return {
      width: figure.querySelector(".plot").clientWidth,
      height: Math.max(200, Math.min(320, Math.round(innerHeight * 0.38))),
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), zone),
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 6 } },
      scales: { x: { range: () => [figure.dataset.start / 1000, figure.dataset.end / 1000] }, y: { range: range(figure, coded) } },
      axes: [
        { ...ink, values: timeAxis(zone), space: 56, size: 34 },
        { ...ink, size: coded ? Math.min(140, 24 + widest * (language.startsWith("zh") ? 13 : 7)) : 58,
          splits: coded ? () => Object.keys(names).map(Number) : undefined,
          values: (_plot, splits) => splits.map((value) => say(value, names)) },
      ],
      series: [
        {},
        edge, edge, // expected band: high, low; one line where a model expects one value
        hidden, hidden, // range: high, low
        { stroke: colour.line, width: 1.75, points: { show: (plot) => plot.data[0].length < 60 }, paths: stepped },
      ],
      bands: [{ series: [1, 2], fill: colour.band }, ...(coded ? [] : [{ series: [3, 4], fill: colour.range }])],
      hooks: {
        drawClear: [interval(figure, colour)],
        draw: [limitLine(figure, colour)],
        setCursor: [(plot) => {
          const i = plot.cursor.idx;
          if (i === null || i === undefined) { readout.textContent = ""; return; }
          const [high, low, top, bottom, mean] = [1, 2, 3, 4, 5].map((n) => plot.data[n][i]);
          const unit = figure.dataset.unit ? ` ${figure.dataset.unit}` : "";
          const span = top !== bottom && !coded ? ` (${say(bottom, names)} … ${say(top, names)})` : "";
          const among = high === low ? say(low, names) : `${say(low, names)} … ${say(high, names)}`;
          const band = high !== null && low !== null && high !== undefined ? ` · ${figure.dataset.band} ${among}` : "";
          readout.textContent = `${stamp(plot.data[0][i])}  ${figure.dataset.label}: ${say(mean, names)}${unit}${span}${band}`;
        }],
      },
    };
  }

  // Whole steps, so that the windows of two looks share their buckets, which the server and the browser keep.
  const STEPS_S = [1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

  function roundWindow(start, end, buckets) {
    const raw = (end - start) / buckets / 1000;
    const step = 1000 * (STEPS_S.find((seconds) => seconds >= raw) ?? Math.ceil(raw / 86400) * 86400);
    const from = Math.floor(start / step) * step, to = Math.ceil(end / step) * step;
    return { start: from, end: to, buckets: Math.max(2, Math.round((to - from) / step)) };
  }

  async function fetchColumns(figure) { // null: the server did not answer with samples
    const width = figure.querySelector(".plot").clientWidth;
    const buckets = Math.max(50, Math.min(1000, Math.round(width)));
    const query = new URLSearchParams(roundWindow(Number(figure.dataset.start), Number(figure.dataset.end), buckets));
    const answer = await fetch(`${figure.dataset.url}?${query}`);
    if (!answer.ok) return null;
    const data = await answer.json();
    return [data.at, data.hi, data.lo, data.high, data.low, data.mean];
  }

  function follow(figure, plot) { // the window ends now: move it on while values come in, at a calm pace
    let last = Date.now();
    const span = Number(figure.dataset.end) - Number(figure.dataset.start);
    document.addEventListener("live-tick", async (event) => {
      if (document.hidden || Date.now() - last < FOLLOW_MS) return;
      last = Date.now();
      figure.dataset.end = event.detail.now;
      figure.dataset.start = event.detail.now - span;
      const columns = await fetchColumns(figure);
      if (columns) plot.setData(columns);
    });
  }

  async function draw(figure) {
    const holder = figure.querySelector(".plot"), readout = figure.querySelector(".readout");
    const columns = await fetchColumns(figure);
    if (!columns) { readout.textContent = figure.dataset.failed; figure.dataset.drawn = "failed"; return; }
    if (!columns[0].length) { readout.textContent = figure.dataset.empty; figure.dataset.drawn = "empty"; return; }
    const names = JSON.parse(figure.dataset.names || "{}");
    const plot = new uPlot(options(figure, names, colours()), columns, holder);
    figure.dataset.drawn = "yes";
    if ("follow" in figure.dataset) follow(figure, plot);
    new ResizeObserver(() => {
      if (holder.clientWidth && holder.clientWidth !== plot.width) plot.setSize({ width: holder.clientWidth, height: plot.height });
    }).observe(figure);
  }

  for (const figure of document.querySelectorAll("figure.chart")) draw(figure);
})();

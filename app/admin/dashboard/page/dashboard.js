"use strict";
// The page is rendered by the server, here and in every update. This script swaps in what it is sent, and draws.
(() => {
  const history = 3600; // seconds that are kept
  const least = 60; // seconds that the charts show at least
  const gapAfter = 3; // seconds without a sample before a line is broken
  const silentAfter = 5000; // ms without an update before the page says so
  const $ = (id) => document.getElementById(id);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

  // Lines differ by dash as well as by colour, and each has its value beside its name.
  const line = (label, colour, of, dash) => ({ label, colour, of, dash });
  const answers = (key, success, more) => [
    line(success, "--c1", (m) => m[key].success ?? 0),
    ...more,
    line("Refused", "--c2", (m) => m[key].refused ?? 0, [6, 3]),
    line("Turned away", "--c3", (m) => m[key].turnedAway ?? 0, [2, 3]),
    line("Failed", "--c4", (m) => m[key].failed ?? 0, [8, 3, 2, 3]),
  ];
  const latency = (key) => [
    line("p50", "--c1", (m) => m[key].p50),
    line("p99", "--c2", (m) => m[key].p99, [6, 3]),
  ];
  const charts = [
    { id: "chart-adds", least: 10, lines: answers("adds", "Added", []) },
    {
      id: "chart-checkouts", least: 10, lines: answers("checkouts", "Sold", [
        line("Declined", "--c5", (m) => m.checkouts.declined ?? 0, [10, 4]),
        line("Pending", "--c6", (m) => m.checkouts.pending ?? 0, [4, 2]),
      ]),
    },
    { id: "chart-add-latency", least: 5, lines: latency("adds") },
    { id: "chart-checkout-latency", least: 5, lines: latency("checkouts") },
    {
      id: "chart-batches", least: 4, lines: [
        line("cart.add", "--c1", (m) => m.batches["cart.add"]),
        line("checkout.reserve", "--c2", (m) => m.batches["checkout.reserve"], [6, 3]),
        line("checkout.settle", "--c5", (m) => m.batches["checkout.settle"], [2, 3]),
      ],
    },
    {
      id: "chart-in-flight", least: 4, lines: [
        line("Checkouts", "--c1", (m) => m.inFlight),
        line("Payment calls", "--c2", (m) => m.payments, [6, 3]),
      ],
    },
  ];

  let samples = [];
  const newest = () => samples.length ? samples[samples.length - 1].at : Date.now() / 1000;
  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

  // columns is what uPlot draws: times, then a column a line. A pause becomes a gap.
  const columns = (lines) => {
    const rows = [[], ...lines.map(() => [])];
    let last = 0;
    for (const m of samples) {
      if (m.at < newest() - $("span").value) continue;
      if (last && m.at - last > gapAfter) {
        rows[0].push(last + 1);
        lines.forEach((_, i) => rows[i + 1].push(null));
      }
      rows[0].push(m.at);
      lines.forEach((l, i) => rows[i + 1].push(l.of(m) ?? null));
      last = m.at;
    }
    return rows;
  };

  const build = (chart) => {
    const place = $(chart.id);
    if (chart.plot) chart.plot.destroy();
    const axis = { stroke: css("--muted"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    chart.plot = new uPlot({
      width: Math.max(place.clientWidth, 120),
      height: 150,
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "all" } },
      legend: { live: true, markers: { dash: (_, i) => chart.lines[i - 1]?.dash ? "dashed" : "solid" } },
      scales: {
        x: { range: () => [Math.min(newest() - least, Math.max(newest() - $("span").value, samples[0]?.at ?? 0)), newest()] },
        y: { range: (_, __, most) => [0, Math.max(most * 1.1 || 0, chart.least)] },
      },
      padding: [8, 24, 0, 0],
      axes: [{ ...axis, size: 24, space: 90, values: (_, all) => all.map((t) => clock.format(t * 1000)) }, { ...axis, size: 46, gap: 4, values: (_, all) => all.map((v) => number.format(v)) }],
      series: [{ label: "Time" }, ...chart.lines.map((l) => ({
        label: l.label, stroke: css(l.colour), width: 1.6, dash: l.dash, points: { show: false },
        value: (_, v) => v == null ? "–" : number.format(v),
      }))],
    }, columns(chart.lines), place);
    chart.plot.ctx.canvas.setAttribute("role", "img");
    queueMicrotask(() => latest(chart)); // after uPlot has shown an empty legend
  };

  // latest shows the newest values in the legend while nobody points at a sample, and describes the chart in words.
  const latest = (chart) => {
    const values = chart.lines.map((l, i) => {
      const all = chart.plot.data[i + 1].filter((v) => v != null);
      return all.length ? `${l.label} now ${number.format(all.at(-1))}, highest ${number.format(all.reduce((a, b) => Math.max(a, b)))}` : `${l.label} none`;
    });
    const title = $(chart.id).parentElement.querySelector("figcaption").textContent;
    chart.plot.ctx.canvas.setAttribute("aria-label", `${title}: ${values.join("; ")}`);
    if (samples.length && !(chart.plot.cursor.left >= 0)) chart.plot.setLegend({ idx: chart.plot.data[0].length - 1 }, false);
  };
  const draw = () => charts.forEach((chart) => { chart.plot.setData(columns(chart.lines)); latest(chart); });

  const shown = new Map();
  const swap = (id, html) => {
    const element = $(id), selection = getSelection();
    if (shown.get(id) === html) return;
    if (!selection.isCollapsed && element.contains(selection.anchorNode)) return; // somebody is about to copy it
    shown.set(id, html);
    element.innerHTML = html; // escaped by the server
  };

  // say shows the state of the connection. Without one, the page says of when its figures are, and dims them.
  const connection = $("connection"), stale = $("stale");
  const say = (state, text) => {
    const old = state !== "live" && samples.length > 0;
    const notice = old ? `${text}. Figures are as of ${clock.format(newest() * 1000)}.` : "";
    if (connection.dataset.state === state && connection.textContent === text && stale.textContent === notice) return;
    connection.dataset.state = state;
    connection.textContent = text;
    document.querySelector("main").classList.toggle("stale", old);
    stale.hidden = !old;
    stale.textContent = notice;
  };
  let heard = 0;
  const keep = (more) => {
    samples.push(...more);
    samples = samples.filter((m) => m.at >= newest() - history);
    draw();
  };
  // update asks for what the page does not have yet, once a second.
  const update = async () => {
    try {
      const after = samples.length ? newest() : 0;
      const answer = await fetch(`${location.origin}/dashboard/update?after=${after}`, { signal: AbortSignal.timeout(2 * silentAfter) });
      const news = await answer.json();
      if (news.version !== document.documentElement.dataset.version) return location.reload(); // a page of another release
      heard = Date.now();
      for (const [id, html] of Object.entries(news.html ?? {})) swap(id, html);
      keep(news.samples ?? []);
      say("live", "Live");
    } catch {
      say("lost", "Disconnected, trying again");
    }
    setTimeout(update, 1000);
  };

  charts.forEach(build);
  const sizes = new ResizeObserver(() => charts.forEach((chart) => {
    const width = $(chart.id).clientWidth;
    if (width && width !== chart.plot.width) chart.plot.setSize({ width, height: 150 });
  }));
  charts.forEach((chart) => sizes.observe($(chart.id)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(build));
  setInterval(() => {
    const quiet = Date.now() - heard;
    if (connection.dataset.state !== "lost" && heard && quiet > silentAfter) say("silent", `No data for ${Math.round(quiet / 1000)} s`);
  }, 1000);
  $("span").addEventListener("change", draw);
  update();
})();

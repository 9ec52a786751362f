"use strict";
// Everything that comes from the agent gets into the page as text, never as HTML: a donor may have named it.
const byId = (id) => document.getElementById(id);
const classOf = (state) => state.toLowerCase().replace(/[^a-z]+/g, "-");

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function drawing(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function amount(bytes) {
  for (const [unit, size] of [["TiB", 2 ** 40], ["GiB", 2 ** 30], ["MiB", 2 ** 20]]) {
    if (bytes >= size || unit === "MiB") return `${(bytes / size).toFixed(bytes >= 100 * size ? 0 : 1)} ${unit}`;
  }
}
const speed = (rate) => `${amount(rate)}/s`;

function duration(seconds) {
  const whole = Math.max(Math.round(seconds), 0);
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function moment(seconds) {
  const then = new Date(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  return `${then.getFullYear()}-${two(then.getMonth() + 1)}-${two(then.getDate())}`
    + ` ${two(then.getHours())}:${two(then.getMinutes())}:${two(then.getSeconds())}`;
}

function showAgent(agent) {
  byId("agent").textContent = `${agent.version} on ${agent.host}, up ${duration(agent.now - agent.started)}`
    + `, ${agent.connections} client${agent.connections === 1 ? "" : "s"}`;
}

function showClone(clone, curve, now) {
  const running = clone.running;
  byId("state").textContent = running ? "In Progress" : clone.state;
  byId("state").className = `badge ${classOf(running ? "In Progress" : clone.state)}`;
  byId("title").textContent = `Clone ${clone.id}`;
  byId("source").textContent = clone.source;
  byId("destination").textContent = clone.destination;
  const part = clone.estimate ? Math.min(clone.data / clone.estimate, 1) : 0;
  const done = clone.state === "Completed" ? 1 : part;
  byId("percent").textContent = clone.estimate ? `${(100 * done).toFixed(1)} %` : "";
  document.title = running ? `${Math.floor(100 * done)} % – innoclone agent` : "innoclone agent";
  byId("error").hidden = !clone.error_number;
  byId("error").textContent = `ERROR ${clone.error_number}: ${clone.error_message}`;

  const recent = curve.slice(-5);
  const rate = recent.length ? recent.reduce((sum, point) => sum + point[1], 0) / recent.length : 0;
  const seconds = (clone.end || now) - clone.begin;
  const left = clone.estimate - clone.data;
  const facts = [["data", amount(clone.data)], ["network", amount(clone.network)]];
  const current = clone.stages.find((stage) => stage.state === "In Progress");
  if (running) {
    if (current && current.stage.endsWith("COPY")) facts.push(["speed", speed(rate)]);
    if (rate > 0 && left > 0) facts.push(["left", duration(left / rate)]);
  } else if (clone.rate !== null) {
    facts.push(["speed", speed(clone.rate)]);
  }
  facts.push([running ? "running for" : "took", duration(seconds)], ["connections", clone.connections]);
  const files = clone.stages.find((stage) => stage.stage === "FILE COPY"); // a local clone has none of it on the wire
  if (files.network && files.network < 0.99 * files.data) {
    facts.push(["compression", `${(100 * (1 - files.network / files.data)).toFixed(0)} %`]);
  }
  if (clone.restarts) facts.push(["reconnects", clone.restarts]);
  if (clone.donor_version) facts.push(["donor", clone.donor_version]);
  if (clone.binlog_file) facts.push(["position", `${clone.binlog_file}:${clone.binlog_position}`]);
  byId("facts").replaceChildren(...facts.map(([name, value]) => {
    const box = element("div");
    box.append(element("dt", name), element("dd", value));
    return box;
  }));
  showStages(clone.stages);
  byId("notes").replaceChildren(...clone.notes.map((note) => element("li", note)));
}

// Rows stay the same elements, so that their bars can move.
function showStages(stages) {
  const body = byId("stages").tBodies[0];
  while (body.rows.length < stages.length) {
    const row = body.insertRow();
    for (let cell = 0; cell < 6; cell += 1) row.insertCell();
    const bar = element("span", undefined, "bar");
    bar.append(element("i"));
    row.cells[1].append(bar);
  }
  stages.forEach((stage, at) => {
    const row = body.rows[at];
    const completed = stage.state === "Completed";
    const part = completed ? 1 : stage.estimate ? Math.min(stage.data / stage.estimate, 1) : 0;
    row.className = classOf(stage.state);
    row.dataset.stage = stage.stage;
    row.dataset.state = stage.state;
    row.cells[0].textContent = stage.stage;
    row.cells[1].firstChild.firstChild.style.width = `${100 * part}%`;
    const begun = stage.state !== "Not Started";
    row.cells[2].textContent = begun && (completed || stage.estimate) ? `${Math.floor(100 * part)} %` : "";
    row.cells[3].textContent = stage.data ? amount(stage.data) : "";
    row.cells[4].textContent = stage.rate === null ? "" : speed(stage.rate);
    row.cells[5].textContent = begun ? duration(stage.seconds) : "";
  });
}

const PLOT = { left: 68, top: 8, bottom: 176 };
let scale = null;

function ceiling(value) {
  const unit = 2 ** 20;
  const power = 10 ** Math.floor(Math.log10(Math.max(value / unit, 0.1)));
  return [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10].map((step) => step * power * unit).find((step) => step >= value);
}

function showCurve(curve) {
  byId("curve").hidden = curve.length < 2;
  if (curve.length < 2) return;
  const top = ceiling(Math.max(...curve.map((point) => Math.max(point[1], point[2])), 1));
  const svg = document.querySelector("#curve svg");
  const right = Math.max(svg.clientWidth, 200) - 4;
  svg.setAttribute("viewBox", `0 0 ${right + 4} 200`);
  const [first, last] = [curve[0][0], curve[curve.length - 1][0]];
  const x = (time) => PLOT.left + (right - PLOT.left) * (time - first) / Math.max(last - first, 1e-9);
  const y = (rate) => PLOT.bottom - (PLOT.bottom - PLOT.top) * rate / top;
  scale = { curve, x };
  const line = (at) => curve.map((point) => `${x(point[0]).toFixed(1)},${y(point[at]).toFixed(1)}`).join(" ");
  const made = [];
  for (const part of [0, 0.5, 1]) {
    const height = y(part * top);
    made.push(drawing("line", { class: "grid", x1: PLOT.left, x2: right, y1: height, y2: height }));
    made.push(drawing("text", { x: PLOT.left - 8, y: height + 4, "text-anchor": "end" }, part ? speed(part * top) : "0"));
  }
  for (const [time, anchor] of [[first, "start"], [(first + last) / 2, "middle"], [last, "end"]]) {
    made.push(drawing("text", { x: x(time), y: PLOT.bottom + 18, "text-anchor": anchor }, duration(time)));
  }
  const foot = `${right},${PLOT.bottom} ${PLOT.left},${PLOT.bottom}`;
  made.push(drawing("polygon", { class: "area", points: `${line(1)} ${foot}` }));
  made.push(drawing("polyline", { class: "data", points: line(1) }));
  made.push(drawing("polyline", { class: "network", points: line(2) }));
  made.push(drawing("line", { class: "cursor", visibility: "hidden", y1: PLOT.top, y2: PLOT.bottom }));
  svg.replaceChildren(...made);
}

document.querySelector("#curve svg").addEventListener("pointermove", (event) => {
  const box = event.currentTarget.getBoundingClientRect();
  const place = event.clientX - box.left;
  const nearest = scale.curve.reduce((one, two) =>
    (Math.abs(scale.x(two[0]) - place) < Math.abs(scale.x(one[0]) - place) ? two : one));
  const cursor = event.currentTarget.querySelector(".cursor");
  cursor.setAttribute("visibility", "visible");
  for (const end of ["x1", "x2"]) cursor.setAttribute(end, scale.x(nearest[0]));
  byId("reading").textContent = `${duration(nearest[0])}: ${speed(nearest[1])}, network ${speed(nearest[2])}`
    + `, ${nearest[3]} connections`;
});

function barOf(percent) {
  const bar = element("span", undefined, "bar");
  const part = element("i");
  part.style.width = `${percent || 0}%`;
  bar.append(part);
  const wide = element("td");
  wide.append(bar);
  return wide;
}

// Backups, restores and clones of commands on this host.
function showRunning(running, now) {
  byId("beside").hidden = !running.length;
  byId("running").tBodies[0].replaceChildren(...running.map((one) => {
    const row = element("tr");
    row.append(element("td", one.id), element("td", one.operation), element("td", one.stage || ""), barOf(one.percent),
      element("td", one.percent === null ? "" : `${Math.floor(one.percent)} %`),
      element("td", one.data ? amount(one.data) : ""), element("td", one.speed ? speed(one.speed) : ""),
      element("td", one.began === null ? "" : duration(now - one.began)), element("td", one.source),
      element("td", one.destination));
    return row;
  }));
}

// A row for each stored clone, and below it one for each recipient that takes it now.
function showServed(served) {
  byId("giving").hidden = !served.length;
  const rows = [];
  for (const one of served) {
    const row = element("tr", undefined, "served");
    const what = element("td", `${one.source} on port ${one.port}, MySQL ${one.version}; taken ${one.completed} times`);
    what.colSpan = 7;
    row.append(element("td", one.name), what);
    rows.push(row);
    for (const taking of one.recipients) {
      const taken = element("tr", undefined, "taking");
      taken.append(element("td"), element("td", `${taking.user}@${taking.host}`), barOf(taking.percent),
        element("td", `${Math.floor(taking.percent || 0)} %`), element("td", amount(taking.data)),
        element("td", taking.connections ? speed(taking.bytes_per_second) : ""),
        element("td", taking.connections || "lost"), element("td", duration(taking.seconds)));
      rows.push(taken);
    }
  }
  byId("served").tBodies[0].replaceChildren(...rows);
}

function showHistory(records) {
  byId("past").hidden = !records.length;
  const rows = [];
  for (const record of records) {
    const row = element("tr");
    const state = element("td");
    state.append(element("span", record.state, `badge ${classOf(record.state)}`));
    row.append(element("td", record.id), element("td", record.operation), state, element("td", moment(record.began)),
      element("td", duration(record.seconds)), element("td", record.data ? amount(record.data) : ""),
      element("td", record.source), element("td", record.destination));
    rows.push(row);
    if (record.error_number) {
      const why = element("tr", undefined, "why");
      const cell = element("td", `error ${record.error_number}: ${record.error_message}`);
      cell.colSpan = 7;
      why.append(element("td"), cell);
      rows.push(why);
    }
  }
  byId("history").tBodies[0].replaceChildren(...rows);
}

function show(status) {
  showAgent(status.agent);
  byId("nothing").hidden = status.clone !== null;
  byId("clone").hidden = status.clone === null;
  if (status.clone !== null) {
    showClone(status.clone, status.curve, status.agent.now);
    showCurve(status.curve);
  }
  showRunning(status.running, status.agent.now);
  showServed(status.served);
  showHistory(status.history);
}

async function poll() {
  let wait = 5000;
  try {
    const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(8000) });
    if (!answer.ok) throw new Error(answer.statusText);
    const status = await answer.json();
    show(status);
    byId("live").className = "on";
    byId("live").textContent = "live";
    const taken = status.served.some((one) => one.recipients.length);
    if (taken || status.running.length || (status.clone !== null && status.clone.running)) wait = 1000;
  } catch {
    byId("live").className = "off";
    byId("live").textContent = "the agent does not answer";
  }
  setTimeout(poll, wait);
}
poll();

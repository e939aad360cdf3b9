"use strict";
// Every text that comes from a model or a user is set as textContent, never as HTML.
const $ = (id) => document.getElementById(id);
const FRAMES = 6; // a second, of the webcam
let models = [], model = null, token = null, stream = null, timer = 0, number = 0, holding = false;
let turn = 0; // of the webcam: what was begun before it was turned off, or another model chosen, is dropped
let local = null, last = null; // the model in this browser, { opened }; the input that was classified last

async function list() {
  const about = await (await fetch("/kerastl/models")).json();
  models = about.models;
  token = about.record;
  $("model").replaceChildren(...models.map((one, place) => new Option(`${one.name}, version ${one.version}`, place)));
}

async function start() {
  await list();
  const wanted = new URLSearchParams(location.search).get("model");
  const place = Math.max(0, models.findIndex((one) => one.name === wanted));
  $("model").value = String(place);
  choose(place);
}

// The versions may have changed since the page was opened. Whether the model has another one now, which is chosen then.
async function renewed() {
  const { name, version, modality } = model;
  await list();
  const place = models.findIndex((one) => one.name === name && one.version === version);
  const other = place >= 0 ? place : models.findLastIndex((one) => one.name === name && one.modality === modality);
  $("model").value = String(Math.max(0, other));
  if (place < 0) { choose(Math.max(0, other), other >= 0); }
  return place < 0 && other >= 0;
}

// goesOn: whether a webcam that is on stays on.
function choose(place, goesOn = false) {
  if (!goesOn) { stopWebcam(); }
  model = models[place] || null;
  if (!model) { return fail("No model is served."); }
  const image = model.modality === "image", text = model.modality === "text";
  $("images").hidden = !image;
  $("texts").hidden = !text;
  $("other").hidden = image || text;
  $("metadata").textContent = `GET /v1/models/${encodeURIComponent(model.name)}/metadata`;
  $("record").hidden = !(image && token);
  $("facts").textContent = model.classes.length ? `${model.classes.length} classes; accuracy ` +
    `${share(model.accuracy)} (95% ${model.accuracy_ci95.map(share).join(" to ")}) on ${model.n_test} held-out ${model.modality}s` : "";
  for (const [id, known] of [["report", model.report], ["card", model.card]]) {
    $(id).hidden = !known;
    $(id).href = `/kerastl/models/${encodeURIComponent(model.name)}/${model.version}/${id}`;
  }
  $("bars").replaceChildren();
  $("why").hidden = $("local-verdict").hidden = true;
  last = null;
  number++; // an answer that is on its way is of the other model
  offer();
  say("No input yet.");
  showCurl(image ? "IMAGE.png" : "Not bad at all.");
}

const why = (error) => error?.message || String(error); // WebAssembly also throws numbers

// The switch that runs the model's TFLite file in this browser.
function offer() {
  const facts = model.in_browser;
  $("local").hidden = !facts;
  if (!facts) { return closeLocal(); }
  $("local-on").disabled = Boolean(facts.refused);
  $("local-on").checked &&= !facts.refused;
  $("local-note").textContent = facts.refused ||
    `${facts.file}, ${(facts.bytes / 1e6).toFixed(1)} MB, by LiteRT ${facts.runtime}; the server still answers too.`;
  openLocal();
}

function closeLocal() {
  local?.opened?.close();
  local = null;
}

async function openLocal() {
  closeLocal();
  if ($("local-on").checked) {
    const { name, version, in_browser: facts } = model, words = $("local-note").textContent, mine = { opened: null };
    local = mine;
    $("local-note").textContent = "Loading …";
    try {
      const { open } = await import("/kerastl/in_browser.js");
      mine.opened = await open(`/kerastl/models/${encodeURIComponent(name)}/${version}`, facts.input);
      if (mine !== local) { return mine.opened.close(); } // another model was chosen meanwhile
      $("local-note").textContent = words;
    } catch (error) {
      if (mine !== local) { return; }
      local = null;
      $("local-on").checked = false;
      $("local-note").textContent = `The model cannot be run in this browser: ${why(error)}`;
    }
  }
  if (last && !stream) { await ask(...last); }
}

// The answer of this browser, or why there is none; null while it has no model.
async function here(content) {
  try {
    return local?.opened ? await local.opened.answer(content) : null;
  } catch (error) {
    return { failed: why(error) };
  }
}

const path = () => `/v1/models/${encodeURIComponent(model.name)}/versions/${model.version}:predict`;
const share = (value) => `${(100 * value).toFixed(1)}%`;

function say(words) { $("verdict").className = "verdict soft"; $("verdict").textContent = words; }
function fail(words) {
  $("verdict").className = "verdict error"; $("verdict").textContent = words;
  $("bars").replaceChildren(); $("why").hidden = $("local-verdict").hidden = true;
}

function showCurl(shown) {
  const quoted = (words) => `'${words.replaceAll("'", `'\\''`)}'`, url = quoted(`${location.origin}${path()}`);
  $("curl").textContent = model.modality === "image" // as a file: an image is too long for an argument
    ? `(echo '{"instances": [{"b64": "'; base64 < ${quoted(shown)}; echo '"}]}') | \\\n  curl -d @- ${url}`
    : `curl -d ${quoted(JSON.stringify({ instances: [shown] }))} \\\n  ${url}`;
}

// instance: what the server is sent. content: the same as the browser takes it, a Blob or a text. again: after the
// version that was chosen is gone.
async function ask(instance, content, again = false) {
  const mine = ++number, second = here(content);
  last = [instance, content];
  let answer, body;
  try {
    answer = await fetch(path(), { method: "POST", body: JSON.stringify({ instances: [instance] }) });
    body = await answer.json();
  } catch (error) {
    return fail(`The server does not answer (${error.message}).`);
  }
  if (mine !== number) { return; } // a later request was sent meanwhile
  if (answer.status === 404 && !again && await renewed()) { return ask(instance, content, true); }
  const one = answer.ok ? body.predictions[0] : body;
  if (one.error) { return fail(one.error); }
  const other = await second;
  if (mine !== number) { return; }
  show(one, other);
  $("why").hidden = true;
  if (model.explained && !stream) { await explain(instance, mine); }
}

// What each place of the image adds to the logit of the most probable class: exact, by the signature `explain`.
async function explain(instance, mine) {
  const answer = await fetch(path(), { method: "POST", body: JSON.stringify({ signature_name: "explain", instances: [instance] }) });
  if (!answer.ok) { return; }
  const { maps, logits } = (await answer.json()).predictions[0];
  if (!maps || mine !== number) { return; }
  const best = logits.indexOf(Math.max(...logits)), heat = maps.map((row) => row.map((cell) => cell[best]));
  const most = Math.max(1e-9, ...heat.flat().map(Math.abs)), canvas = $("map"), paint = canvas.getContext("2d");
  const cell = [canvas.width / heat[0].length, canvas.height / heat.length];
  paint.clearRect(0, 0, canvas.width, canvas.height);
  paint.drawImage($("preview"), 0, 0, canvas.width, canvas.height); // a square, as the network sees it
  heat.forEach((row, y) => row.forEach((value, x) => {
    paint.fillStyle = `rgba(${value > 0 ? "220, 60, 30" : "40, 90, 220"}, ${0.65 * Math.abs(value) / most})`;
    paint.fillRect(x * cell[0], y * cell[1], cell[0], cell[1]);
  }));
  $("why-words").textContent = `What speaks for ${model.classes[best]} (red) and against it (blue), place by place.`;
  $("why").hidden = false;
}

// one: the server's answer. other: that of this browser, if any.
function show(one, other) {
  $("verdict").className = other ? "verdict key" : "verdict";
  const labels = Array.isArray(one.label) ? one.label : [one.label];
  $("verdict").textContent = (other ? "Server: " : "") + verdict(labels, one.score, one.unknown_score);
  showOther(one, other);
  const both = other && !other.failed;
  const rows = model.classes.map((name, place) => [name, one.probabilities[place], both ? other.probabilities[place] : null])
    .sort((a, b) => b[1] - a[1]).slice(0, 10);
  $("bars").replaceChildren(...rows.map(([name, value, second]) => {
    const row = document.createElement("li"), title = document.createElement("span");
    title.className = "name"; title.textContent = name; title.title = name;
    row.append(title, ...bar(both ? `${name}, server` : name, value, ""));
    if (both) { row.append(...bar(`${name}, this browser`, second, "second")); }
    return row;
  }));
}

function bar(name, value, kind) {
  const element = document.createElement("progress"), text = document.createElement("span");
  element.max = 1; element.value = value; element.className = kind; element.setAttribute("aria-label", name);
  text.className = `share ${kind}`; text.textContent = share(value);
  return [element, text];
}

const verdict = (labels, score, unknown) =>
  `${labels.join(", ") || "no label"} (${share(score)})${unknown > 0 ? "; unlike the training data" : ""}`;

function showOther(one, other) {
  $("local-verdict").hidden = !other;
  if (!other) { return; }
  $("local-verdict").className = other.failed ? "soft" : "key second";
  if (other.failed) {
    $("local-verdict").textContent = `This browser has no answer: ${other.failed}`;
    return;
  }
  const { probabilities: p, predicted, unknown, milliseconds } = other, best = Math.max(...p);
  const chosen = predicted ? model.classes.filter((_, place) => predicted[place] > 0) : [model.classes[p.indexOf(best)]];
  const scores = predicted ? p.filter((_, place) => predicted[place] > 0) : [best];
  const labels = [model.rejects && unknown > 0 ? "none of these" : chosen.join("|")]; // as the signature has them
  const difference = Math.max(...p.map((value, place) => Math.abs(value - one.probabilities[place])));
  $("local-verdict").textContent = `This browser: ${verdict(labels, scores.length ? Math.max(...scores) : best, unknown)}` +
    `, in ${Math.max(1, Math.round(milliseconds))} ms. Largest difference from the server's probabilities: ` +
    `${difference ? difference.toExponential(1) : 0}.`;
}

function base64(buffer) {
  const bytes = new Uint8Array(buffer), parts = [];
  for (let start = 0; start < bytes.length; start += 0x8000) {
    parts.push(String.fromCharCode(...bytes.subarray(start, start + 0x8000)));
  }
  return btoa(parts.join(""));
}

async function take(file) {
  if (!file || !model || model.modality !== "image") { return; }
  stopWebcam();
  URL.revokeObjectURL($("preview").src);
  $("preview").src = URL.createObjectURL(file);
  await $("preview").decode().catch(() => {}); // an image that the browser cannot show may still be one for the model
  $("preview").hidden = false;
  $("drop-help").hidden = true;
  showCurl(file.name);
  await ask({ b64: base64(await file.arrayBuffer()) }, file); // the file as it is: the model decodes it
}

async function toggleWebcam() {
  if (stream) { return stopWebcam(); }
  const mine = ++turn;
  let found;
  try {
    found = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
  } catch (error) {
    return fail(`The webcam cannot be used (${error.message}). It needs localhost or https.`);
  }
  if (mine !== turn) { return found.getTracks().forEach((track) => track.stop()); }
  stream = found;
  $("webcam").setAttribute("aria-pressed", "true");
  $("preview").hidden = $("drop-help").hidden = true;
  $("video").hidden = false;
  $("video").srcObject = stream;
  await $("video").play().catch(() => {}); // turned off meanwhile
  frame(mine);
}

async function frame(mine) {
  if (mine !== turn) { return; }
  const started = performance.now(), content = await shot();
  if (content && mine === turn) {
    if (holding) { await record(content); }
    const encoded = base64(await content.arrayBuffer());
    if (mine === turn) { await ask({ b64: encoded }, content); }
  }
  if (mine !== turn) { return; }
  timer = setTimeout(frame, Math.max(0, 1000 / FRAMES - (performance.now() - started)), mine);
}

function shot() {
  const video = $("video"), canvas = document.createElement("canvas");
  canvas.width = video.videoWidth; canvas.height = video.videoHeight;
  if (!canvas.width) { return null; }
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
}

function stopWebcam() {
  turn++;
  clearTimeout(timer);
  if (stream) { stream.getTracks().forEach((track) => track.stop()); }
  stream = null;
  $("video").hidden = true;
  $("video").srcObject = null;
  $("webcam").setAttribute("aria-pressed", "false");
  $("drop-help").hidden = !$("preview").hidden;
}

async function record(content) {
  const answer = await fetch(`/kerastl/record?label=${encodeURIComponent($("record-label").value)}`,
    { method: "POST", body: content, headers: { "X-Kerastl-Token": token } });
  $("recorded").textContent = answer.ok ? `${(await answer.json()).recorded} images recorded` : await answer.text();
}

function hold(on) {
  holding = on && Boolean(stream);
  $("hold").classList.toggle("active", holding);
  if (on && !stream) { $("recorded").textContent = "Turn the webcam on first."; }
}

$("model").addEventListener("change", (event) => choose(Number(event.target.value)));
$("choose").addEventListener("click", () => $("file").click());
$("drop").addEventListener("click", () => $("file").click());
$("drop").addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); $("file").click(); } });
$("file").addEventListener("change", (event) => { take(event.target.files[0]); event.target.value = ""; });
for (const kind of ["dragenter", "dragover"]) {
  $("drop").addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
}
$("drop").addEventListener("dragleave", () => $("drop").classList.remove("over"));
$("drop").addEventListener("drop", (event) => { event.preventDefault(); $("drop").classList.remove("over"); take(event.dataTransfer.files[0]); });
document.addEventListener("paste", (event) => { const file = event.clipboardData.files[0]; if (file) { take(file); } });
$("webcam").addEventListener("click", toggleWebcam);
for (const kind of ["pointerdown", "keydown"]) { $("hold").addEventListener(kind, () => hold(true)); }
for (const kind of ["pointerup", "pointerleave", "keyup", "blur"]) { $("hold").addEventListener(kind, () => hold(false)); }
const classify = () => { if ($("text").value.trim()) { showCurl($("text").value); ask($("text").value, $("text").value); } };
$("ask").addEventListener("click", classify);
$("text").addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { classify(); } });
$("local-on").addEventListener("change", offer);
$("copy").addEventListener("click", async () => { await navigator.clipboard.writeText($("curl").textContent); });
start().catch((error) => fail(`The page could not be started (${error.message}).`));

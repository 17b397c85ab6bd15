"use strict";

const PART = 1 << 20; // bytes of an upload in one message
const AHEAD = 4; // parts on their way at a time

const at = (id) => document.getElementById(id);
const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/events`);
socket.binaryType = "arraybuffer";

let hello = null; // the first message: limits and kinds of files
const entries = new Map(); // by number, as sent by the server
const items = new Map(); // their elements in the list
const previews = new Map(); // addresses of the visitor's own pictures
let chosen = null;
const waiting = []; // files that are still to be sent
let sending = null;

// Messages

socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message.kind === "hello") greet(message);
  else if (message.kind === "entry") update(message);
  else if (message.kind === "gone") forget(message.id);
  else if (message.kind === "begun") sending.begun(message);
  else if (message.kind === "received") sending?.received();
};
socket.onclose = () => { at("lost").hidden = false; };
at("reload").onclick = () => location.reload();

const send = (message) => socket.send(JSON.stringify(message));

function greet(message) {
  hello = message;
  at("limits").textContent = message.limits;
  at("privacy").textContent = message.privacy;
  for (const kind of new Set([...message.photoFiles, ...message.clipFiles])) {
    const box = element("input", { type: "checkbox", value: kind, checked: message.save.includes(kind) });
    box.onchange = showCommand;
    const [photo, clip] = [message.photoFiles.includes(kind), message.clipFiles.includes(kind)];
    const title = photo && clip ? "photos and clips" : photo ? "photos" : "clips";
    at("save").append(element("label", { title }, box, kind));
  }
  const names = { smpl: "SMPL", mixamo: "Mixamo", unreal: "Unreal", vrm: "VRM" };
  at("rig").append(...message.rigs.map((rig) => element("option", { value: rig }, names[rig] ?? rig)));
  at("scene").src = `scene/${message.token}`;
  closePanel();
  showCommand();
}

// In narrow frames viser's panel lies open over the scene and only its title closes it.
function closePanel() {
  const watch = setInterval(() => {
    const inside = at("scene").contentDocument;
    if (at("scene").clientWidth > 576 || !inside) return;
    const title = [...inside.querySelectorAll("div[style*=pointer]")].find((div) => div.innerText?.trim() === "Controls");
    if (!title) return;
    clearInterval(watch);
    title.click();
  }, 100);
}

// The list of files

function update(entry) {
  const before = entries.get(entry.id);
  entries.set(entry.id, entry);
  draw(entry);
  const done = entry.state === "done" && before?.state !== "done";
  if (chosen === null) choose(entry.id);
  // The first result of one's own takes the place of the example.
  else if (done && entry.id !== chosen && entries.get(chosen)?.example && !entry.example) choose(entry.id);
  else if (entry.id === chosen) showChosen();
}

function draw(entry) {
  let item = items.get(entry.id);
  if (!item) {
    item = element("li", {});
    items.set(entry.id, item);
    const open = element("button", { type: "button", className: "open" },
      element("span", { className: "name" }), element("span", { className: "text" }));
    open.append(element("progress", { max: 1 }));
    const remove = element("button", { type: "button", className: "remove", title: "Remove" }, "×");
    remove.setAttribute("aria-label", `Remove ${entry.name}`);
    item.append(element("span", { className: "blank" }), open, remove);
    item.onclick = () => choose(entry.id);
    remove.onclick = (event) => { event.stopPropagation(); send({ kind: "remove", id: entry.id }); };
    // The visitor's files come before the examples.
    const examples = [...entries.values()].filter((other) => other.example && items.has(other.id) && other !== entry);
    at("files").insertBefore(item, entry.example ? null : items.get(examples[0]?.id) ?? null);
  }
  item.className = [entry.state, entry.id === chosen ? "chosen" : ""].join(" ");
  item.querySelector(".name").textContent = entry.name;
  item.querySelector(".text").textContent = describe(entry);
  const busy = ["uploading", "working"].includes(entry.state);
  const progress = item.querySelector("progress");
  progress.hidden = !busy;
  if (entry.share === null) progress.removeAttribute("value");
  else progress.value = entry.share;
  const own = previews.get(entry.id);
  const picture = own ?? (entry.picture && !entry.clip ? entry.picture : null);
  const first = item.firstChild;
  if (picture && first.getAttribute("src") !== picture) {
    const image = element("img", { src: picture, alt: "" });
    image.onerror = () => image.replaceWith(element("span", { className: "blank" }, "photo"));
    first.replaceWith(image);
  } else if (!picture && first.tagName === "SPAN") first.textContent = entry.clip ? "clip" : "";
}

function describe(entry) {
  if (entry.state === "done") {
    return `${entry.example ? "example · " : ""}${people(entry.people)}${entry.text ? ` · ${entry.text}` : ""}`;
  }
  if (entry.state !== "failed" && entry.share !== null) return `${entry.text}: ${Math.round(100 * entry.share)} %`;
  return entry.text;
}

const people = (number) => (number === 0 ? "no person found" : number === 1 ? "1 person" : `${number} people`);

function choose(id) {
  const before = entries.get(chosen);
  chosen = id;
  for (const entry of [before, entries.get(id)]) if (entry) draw(entry);
  send({ kind: "show", id });
  showChosen();
}

function forget(id) {
  entries.delete(id);
  items.get(id)?.remove();
  items.delete(id);
  if (previews.has(id)) URL.revokeObjectURL(previews.get(id));
  previews.delete(id);
  if (id !== chosen) return;
  chosen = null;
  const next = [...entries.values()].find((entry) => entry.state === "done") ?? [...entries.values()][0];
  if (next) choose(next.id);
  else showChosen();
}

// The chosen file

function showChosen() {
  const entry = entries.get(chosen);
  at("title").textContent = entry?.name ?? "";
  at("summary").textContent = entry ? describe(entry) : "Choose a photo or a clip.";
  at("downloads").replaceChildren(...(entry?.files ?? []).map((file) =>
    element("a", { href: file.address, download: file.name, title: `${file.name}, ${size(file.bytes)}` },
      file.name.slice(stem(entry.files).length).replace(/^[_.]/, "") || file.name)));
  at("again").disabled = !entry || !["done", "failed"].includes(entry.state);
  at("feet").hidden = entry !== undefined && !entry.clip;
  showPicture(entry);
  showCommand();
}

// What the names of all downloads begin with.
function stem(files) {
  let shared = files[0].name;
  for (const { name } of files) while (!name.startsWith(shared)) shared = shared.slice(0, -1);
  return files.length > 1 ? shared.replace(/[_.]$/, "") : shared.replace(/[_.][^_.]*$/, "");
}

function size(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function showPicture(entry) {
  const own = entry ? previews.get(entry.id) : undefined;
  const address = entry?.picture ?? own ?? "";
  const kind = !address ? "p" : entry.picture && entry.clip ? "video" : "img";
  const now = at("picture").firstChild;
  if (now?.dataset.address === address && now.tagName.toLowerCase() === kind && address) return;
  const shown = kind === "p" ? element("p", {}, entry ? describe(entry) : "")
    : kind === "img" ? element("img", { src: address, alt: entry.picture ? "The picture with the bodies" : "" })
    : element("video", { src: address, controls: true, loop: true, muted: true, autoplay: true, playsInline: true });
  const tall = () => document.body.classList.toggle("tall", (shown.naturalHeight ?? shown.videoHeight) > (shown.naturalWidth ?? shown.videoWidth));
  shown.onload = shown.onloadedmetadata = tall;
  shown.dataset.address = address;
  at("picture").replaceChildren(shown);
}

// Choices

const angle = () => (at("camera").value === "other" ? Number(at("angle").value) : Number(at("camera").value) || null);

function choices() {
  const save = [...at("save").querySelectorAll(":checked")].map((box) => box.value);
  return { fov: angle(), lockFeet: at("lock").checked, rig: at("rig").value, save };
}

function showCommand() {
  at("angle").hidden = at("camera").value !== "other";
  if (!hello) return;
  const entry = entries.get(chosen);
  const { fov, lockFeet, rig, save } = choices();
  const kinds = save.filter((kind) => (entry?.clip ? hello.clipFiles : hello.photoFiles).includes(kind));
  const words = [...hello.command.slice(0, 2), entry?.name ?? "photo.jpg", "-o", "out", ...hello.command.slice(2)];
  if (fov) words.push("--fov", String(fov));
  if (lockFeet && entry?.clip) words.push("--lock-feet");
  if (rig !== hello.rigs[0] && kinds.some((kind) => hello.rigged.includes(kind))) words.push("--rig", rig);
  if (kinds.length) words.push("--save", kinds.join(","));
  at("command").textContent = words.map(quoted).join(" ");
}

const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

for (const id of ["camera", "angle", "lock", "rig"]) at(id).oninput = showCommand;
at("again").onclick = () => send({ kind: "again", id: chosen, choices: choices() });
at("copy").onclick = async () => {
  const text = at("command").textContent;
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else getSelection().selectAllChildren(at("command")); // pages that are not on this computer may not copy
  at("copy").textContent = navigator.clipboard ? "Copied" : "Selected";
  setTimeout(() => { at("copy").textContent = "Copy"; }, 1500);
};

// Uploads, one after another

at("choose").onclick = () => at("input").click();
at("input").onchange = () => { add([...at("input").files]); at("input").value = ""; };
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  add([...event.dataTransfer.files]);
});

function add(files) {
  waiting.push(...files);
  if (!sending) upload();
}

async function upload() {
  while (waiting.length && socket.readyState === WebSocket.OPEN) {
    const file = waiting.shift();
    const begun = new Promise((resolve) => { sending = { begun: resolve, received() {} }; });
    send({ kind: "upload", name: file.name, size: file.size, choices: choices() });
    const { id, wanted } = await begun;
    if (!wanted) continue;
    if (file.type.startsWith("image/")) previews.set(id, URL.createObjectURL(file));
    try {
      await sendParts(id, file);
    } catch { // the file has changed or gone since it was chosen: the server waits for its end
      location.reload();
    }
  }
  sending = null;
}

async function sendParts(id, file) {
  let ahead = 0;
  let wake = () => {};
  sending.received = () => { ahead -= 1; wake(); };
  for (let start = 0; start < file.size; start += PART) {
    const part = await file.slice(start, start + PART).arrayBuffer();
    while (ahead >= AHEAD) await new Promise((resolve) => { wake = resolve; });
    ahead += 1;
    socket.send(part);
  }
  while (ahead > 0) await new Promise((resolve) => { wake = resolve; });
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

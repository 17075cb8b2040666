"use strict";
// Pictures and meshes lie in the page as base 64 and are decoded only near the screen, so that hundreds of objects open.

const root = document.documentElement;
const dataUri = (id) => {
  const holder = document.getElementById(id);
  return `data:${holder.dataset.type};base64,${holder.textContent}`;
};

// ---- theme: the system's, or the reader's choice

const dark = matchMedia("(prefers-color-scheme: dark)");
const themeButton = document.getElementById("theme");
let theme = remembered("tunemv3d-theme") || "auto";

function remembered(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}

function applyTheme() {
  root.dataset.theme = theme === "auto" ? (dark.matches ? "dark" : "light") : theme;
  themeButton.textContent = `Theme: ${theme}`;
  try { localStorage.setItem("tunemv3d-theme", theme); } catch { /* the choice lasts as long as the page */ }
}

dark.addEventListener("change", applyTheme);
themeButton.addEventListener("click", () => {
  theme = { auto: "light", light: "dark", dark: "auto" }[theme];
  applyTheme();
});
applyTheme();

// ---- media, while they are near the screen

let motion = !matchMedia("(prefers-reduced-motion: reduce)").matches;
const motionButton = document.getElementById("motion");

async function showPicture(element) {
  element.src = dataUri(element.dataset.media);
  if (!element.dataset.moves || motion) return;
  // Its first frame alone. It may be taken away meanwhile.
  if (!(await element.decode().then(() => true, () => false))) return;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [element.naturalWidth, element.naturalHeight];
  canvas.getContext("2d").drawImage(element, 0, 0);
  element.src = canvas.toDataURL("image/png");
}

// Meshes and their viewer lie packed in the page; the viewer is unpacked for the first of them.
let viewerAsked = false;
const hasWebGL = document.createElement("canvas").getContext("webgl2") !== null;

function unpacked(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (each) => each.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip")));
}

async function unpackViewer() {
  if (viewerAsked) return;
  viewerAsked = true;
  const script = Object.assign(document.createElement("script"), { type: "module", textContent: await unpacked("model-viewer").text() });
  document.head.append(script);
}

async function showMesh(stage) {
  if (stage.querySelector(".fault, model-viewer")) return;
  if (!hasWebGL) {
    stage.parentElement.querySelector("figcaption").textContent = "mesh, still: this browser has no WebGL";
    return;
  }
  unpackViewer();
  const viewer = document.createElement("model-viewer");
  const options = {
    alt: stage.dataset.label, "camera-controls": "", "disable-zoom": "",
    loading: "eager", "touch-action": "pan-y", "interaction-prompt": "none", "shadow-intensity": "0.7", "shadow-softness": "0.9",
    "camera-orbit": "25deg 72deg 105%", exposure: "1.05",
  };
  for (const [name, value] of Object.entries(options)) viewer.setAttribute(name, value);
  if (motion) viewer.setAttribute("auto-rotate", "");
  // The wheel scrolls the page until the mesh is chosen.
  viewer.addEventListener("focus", () => viewer.removeAttribute("disable-zoom"));
  viewer.addEventListener("blur", () => viewer.setAttribute("disable-zoom", ""));
  viewer.addEventListener("load", () => stage.classList.add("turns"));
  viewer.addEventListener("error", () => {
    const told = Object.assign(document.createElement("p"), { className: "fault", textContent: "this mesh cannot be shown" });
    stage.replaceChildren(told);
  });
  stage.append(viewer);
  viewer.src = URL.createObjectURL(await unpacked(stage.dataset.mesh).blob());
}

function hideMesh(stage) {
  const viewer = stage.querySelector("model-viewer");
  if (!viewer) return;
  URL.revokeObjectURL(viewer.src);
  viewer.remove();
  stage.classList.remove("turns");
}

function show(holder) {
  if (holder.dataset.shown) return Promise.resolve();
  holder.dataset.shown = "yes";
  for (const stage of holder.querySelectorAll("[data-mesh]")) showMesh(stage);
  return Promise.all([...holder.querySelectorAll("[data-media]")].map(showPicture));
}

function hide(holder) {
  delete holder.dataset.shown;
  for (const stage of holder.querySelectorAll("[data-mesh]")) hideMesh(stage);
  for (const element of holder.querySelectorAll("[data-media]")) element.removeAttribute("src");
}

const holders = [...document.querySelectorAll(".object, .preview")];
const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) (isIntersecting ? show : hide)(target);
}, { rootMargin: "400px" });
for (const holder of holders) near.observe(holder);

function applyMotion() {
  motionButton.setAttribute("aria-pressed", String(motion));
  for (const holder of holders.filter((each) => each.dataset.shown)) {
    for (const element of holder.querySelectorAll("[data-moves]")) showPicture(element);
    for (const viewer of holder.querySelectorAll("model-viewer")) viewer.toggleAttribute("auto-rotate", motion);
  }
}

motionButton.addEventListener("click", () => { motion = !motion; applyMotion(); });
motionButton.setAttribute("aria-pressed", String(motion));

// ---- paper: all pictures, wherever they are

async function showAll() {
  near.disconnect();
  await Promise.all(holders.map((holder) => {
    const pictures = [...holder.querySelectorAll("img[data-media]")].filter((each) => !each.src);
    return Promise.all(pictures.map(async (each) => { await showPicture(each); await each.decode().catch(() => {}); }));
  }));
}

document.getElementById("print").addEventListener("click", async () => { await showAll(); print(); });
addEventListener("beforeprint", showAll);
addEventListener("afterprint", () => {
  for (const holder of holders.filter((each) => !each.dataset.shown)) hide(holder);
  for (const holder of holders) near.observe(holder);
});

// ---- the list of prompts: filter, arrow keys, where the reader is

const filter = document.getElementById("filter");
const links = [...document.querySelectorAll("#list a")];
const seen = () => links.filter((link) => !link.parentElement.hidden);

filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/);
  for (const link of links) link.parentElement.hidden = !words.every((word) => link.textContent.toLowerCase().includes(word));
  document.getElementById("none").hidden = seen().length > 0;
});

filter.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" && seen().length) { seen()[0].focus(); event.preventDefault(); }
  if (event.key === "Escape") { filter.value = ""; filter.dispatchEvent(new Event("input")); }
});

document.getElementById("list").addEventListener("keydown", (event) => {
  const shown = seen();
  const at = shown.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: shown.length - 1 }[event.key];
  if (event.key === "Escape" || to === -1) filter.focus();
  else if (to !== undefined && shown[to]) shown[to].focus();
  else return;
  event.preventDefault();
});

const here = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    for (const link of links) link.removeAttribute("aria-current");
    const link = links.find((each) => each.hash === `#${target.id}`);
    link.setAttribute("aria-current", "true");
    const list = link.closest("ol");
    const [box, frame] = [link.getBoundingClientRect(), list.getBoundingClientRect()];
    list.scrollTop += Math.min(0, box.top - frame.top) + Math.max(0, box.bottom - frame.bottom);
  }
}, { rootMargin: "-15% 0px -70% 0px" });
for (const section of document.querySelectorAll(".prompt")) here.observe(section);

// ---- one picture, larger

const zoom = document.getElementById("zoom");
let album = [];
let page = 0;

function turn(to) {
  page = (to + album.length) % album.length;
  const picture = album[page];
  const large = zoom.querySelector("img");
  large.src = picture.src;
  large.alt = picture.alt;
  zoom.querySelector("p").textContent = picture.alt;
}

document.addEventListener("click", (event) => {
  const tile = event.target.closest("[data-zoom]");
  if (!tile) return;
  album = [...tile.closest(".object, .preview").querySelectorAll("[data-zoom] img")];
  turn(album.indexOf(tile.querySelector("img")));
  zoom.showModal();
});
zoom.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) turn(page + step);
});
zoom.addEventListener("click", (event) => { if (event.target === zoom) zoom.close(); });
document.getElementById("close").addEventListener("click", () => zoom.close());

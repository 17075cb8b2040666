// Cameras and object in 3D: drag to turn, wheel or pinch to zoom, tap a camera or a view to choose it.
"use strict";
const scene = JSON.parse(document.getElementById("scene").textContent);
const canvas = document.getElementById("orbit");
const figures = [...document.querySelectorAll("figure")];
let azimuth = 0.6, elevation = 0.45, zoom = 1, chosen = -1, places = [];

const add = (a, b, s) => a.map((value, i) => value + s * b[i]);

function projector(width, height) {
  const [sa, ca, se, ce] = [Math.sin(azimuth), Math.cos(azimuth), Math.sin(elevation), Math.cos(elevation)];
  const scale = Math.min(width, height) * 0.56 * zoom / scene.radius, away = 4 * scene.radius;
  return ([px, py, pz]) => {
    const [x, y, z] = [px - scene.middle[0], py - scene.middle[1], pz - scene.middle[2]];
    const side = ca * x + sa * y, deep = -sa * x + ca * y;
    const depth = ce * deep - se * z, up = se * deep + ce * z, near = away / (away + depth);
    return [width / 2 + side * near * scale, height / 2 - up * near * scale, depth, near * scale];
  };
}

function frustum({ at, right, down, forward, lens }, length) {
  return [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([sx, sy]) => {
    const x = (sx > 0 ? 1 - lens[2] : -lens[2]) / lens[0], y = (sy > 0 ? 1 - lens[3] : -lens[3]) / lens[1];
    return add(add(add(at, forward, length), right, x * length), down, y * length);
  });
}

function draw() {
  const ratio = window.devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
  [canvas.width, canvas.height] = [width * ratio, height * ratio];
  const pen = canvas.getContext("2d"), project = projector(width, height), style = getComputedStyle(document.body);
  pen.scale(ratio, ratio);
  const line = (points, colour, thick) => {
    pen.strokeStyle = colour;
    pen.lineWidth = thick;
    pen.beginPath();
    points.map(project).forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.stroke();
  };
  const circle = [...Array(65).keys()].map((i) => [Math.cos(i * Math.PI / 32), Math.sin(i * Math.PI / 32), 0]);
  line(circle, style.getPropertyValue("--line"), 1);
  [["x", [1.15, 0, 0]], ["y", [0, 1.15, 0]], ["z", [0, 0, 1.15]]].forEach(([name, end]) => {
    line([[0, 0, 0], end], style.getPropertyValue("--line"), 1.5);
    pen.fillStyle = style.getPropertyValue("--soft");
    pen.font = "13px system-ui, sans-serif";
    pen.fillText(name, ...project(end).slice(0, 2));
  });
  const points = scene.points.map(([x, y, z, colour]) => [...project([x, y, z]), colour]);
  points.sort((a, b) => b[2] - a[2]).forEach(([x, y, , size, colour]) => {
    const side = Math.max(1.5, scene.cell * size);
    pen.fillStyle = colour;
    pen.fillRect(x - side / 2, y - side / 2, side, side);
  });
  places = scene.cameras.map((camera, i) => {
    const corners = frustum(camera, scene.radius * 0.12), colour = style.getPropertyValue(i === chosen ? "--accent" : "--camera");
    line([...corners, corners[0]], colour, i === chosen ? 2.5 : 1.2);
    corners.forEach((corner) => line([camera.at, corner], colour, i === chosen ? 2.5 : 1));
    const place = project(camera.at);
    pen.fillStyle = colour;
    pen.fillText(i, place[0] + 4, place[1] - 4);
    return place;
  });
}

function choose(index) {
  chosen = index === chosen ? -1 : index;
  figures.forEach((figure, i) => {
    figure.classList.toggle("chosen", i === chosen);
    figure.querySelector("button").setAttribute("aria-pressed", String(i === chosen));
  });
  draw();
}

const fingers = new Map();
let moved = 0;
const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };
canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); fingers.set(e.pointerId, e); moved = 0; });
canvas.addEventListener("pointermove", (e) => {
  const before = fingers.get(e.pointerId);
  if (!before) return;
  const apart = fingers.size > 1 ? spread() : 0;
  fingers.set(e.pointerId, e);
  moved += Math.hypot(e.x - before.x, e.y - before.y);
  if (apart) zoom = Math.min(8, Math.max(0.3, zoom * spread() / apart));
  else {
    azimuth -= (e.x - before.x) * 0.008;
    elevation = Math.min(1.57, Math.max(-1.57, elevation + (e.y - before.y) * 0.008));
  }
  draw();
});
const release = (e) => {
  if (fingers.delete(e.pointerId) && moved < 5 && e.type === "pointerup") {
    const away = places.map(([x, y]) => Math.hypot(x - e.offsetX, y - e.offsetY)), nearest = Math.min(...away);
    if (nearest < 22) choose(away.indexOf(nearest));
  }
};
["pointerup", "pointercancel"].forEach((name) => canvas.addEventListener(name, release));
canvas.addEventListener("wheel", (e) => { e.preventDefault(); zoom *= Math.exp(-e.deltaY * 0.001); draw(); }, { passive: false });
canvas.addEventListener("keydown", (e) => {
  const turn = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[e.key];
  const nearer = { "+": 1.1, "=": 1.1, "-": 1 / 1.1 }[e.key];
  if (!turn && !nearer) return;
  e.preventDefault();
  if (turn) [azimuth, elevation] = [azimuth + turn[0], Math.min(1.57, Math.max(-1.57, elevation + turn[1]))];
  if (nearer) zoom = Math.min(8, Math.max(0.3, zoom * nearer));
  draw();
});
figures.forEach((figure, i) => figure.addEventListener("click", () => choose(i)));
new ResizeObserver(draw).observe(canvas);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

"use strict";
const clip = JSON.parse(document.getElementById("clip").textContent);
const get = (id) => document.getElementById(id);
const titles = clip.columns.map((column) => column.title);
const pictures = clip.columns.map((column) =>
  column.frames.map((uri) => Object.assign(new Image(), { src: uri })));
const state = { frame: 0, left: 0, right: Math.min(1, titles.length - 1), cut: 0.5, x: 0.5, y: 0.5, zoom: 4 };
const last = clip.numbers.length - 1;

const limited = (value, low, high) => Math.min(high, Math.max(low, value));

function paint(canvas, picture) {
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
}

function paintLoupe() {
  const [w, h] = [clip.width / state.zoom, clip.height / state.zoom];
  const left = limited(state.x * clip.width - w / 2, 0, clip.width - w);
  const top = limited(state.y * clip.height - h / 2, 0, clip.height - h);
  titles.forEach((_, index) => {
    const canvas = get(`loupe-${index}`);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(pictures[index][state.frame], left, top, w, h, 0, 0, canvas.width, canvas.height);
  });
  Object.assign(get("spot").style, {
    left: `${(100 * left) / clip.width}%`, top: `${(100 * top) / clip.height}%`,
    width: `${100 / state.zoom}%`, height: `${100 / state.zoom}%`,
  });
}

function paintFrame() {
  titles.forEach((_, index) => paint(get(`player-${index}`), pictures[index][state.frame]));
  paint(get("under"), pictures[state.left][state.frame]);
  paint(get("over"), pictures[state.right][state.frame]);
  get("left-tag").textContent = titles[state.left];
  get("right-tag").textContent = titles[state.right];
  get("under").setAttribute("aria-label", `${titles[state.left]}, left of the divider`);
  get("over").setAttribute("aria-label", `${titles[state.right]}, right of the divider`);
  paintLoupe();
}

/* All players show the same frame, as soon as its pictures are decoded. */
async function show(frame) {
  state.frame = limited(frame, 0, last);
  const words = `frame ${clip.numbers[state.frame]} of ${clip.frames}`;
  get("frame").value = state.frame;
  get("frame").setAttribute("aria-valuetext", words);
  get("number").textContent = words;
  const wanted = state.frame;
  await Promise.all(pictures.map((column) => column[wanted].decode()));
  if (wanted === state.frame) paintFrame();
}

function cutAt(share) {
  state.cut = limited(share, 0, 1);
  const percent = 100 * state.cut;
  get("divider").style.left = `${percent}%`;
  get("divider").setAttribute("aria-valuenow", Math.round(percent));
  get("over").style.clipPath = `inset(0 0 0 ${percent}%)`;
}

function lookAt(x, y) {
  state.x = limited(x, 0, 1);
  state.y = limited(y, 0, 1);
  paintLoupe();
}

/* Playing */
let playing = false;
function play(on) {
  playing = on && last > 0;
  get("play").textContent = playing ? "Pause" : "Play";
  get("play").setAttribute("aria-pressed", String(playing));
  if (!playing) return;
  let due = performance.now();
  const tick = async (now) => {
    if (!playing) return;
    const wait = (1000 * clip.seconds_per_frame) / Number(get("speed").value);
    if (now - due >= wait) {
      due = Math.max(due + wait, now - wait);
      await show(state.frame === last ? 0 : state.frame + 1);
    }
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}
function step(by) {
  play(false);
  show(state.frame + by);
}

get("play").addEventListener("click", () => play(!playing));
get("previous").addEventListener("click", () => step(-1));
get("next").addEventListener("click", () => step(1));
get("frame").addEventListener("input", (event) => {
  play(false);
  show(Number(event.target.value));
});
document.addEventListener("keydown", (event) => {
  if (event.key !== " " || event.target.closest("button, select, input, summary")) return;
  event.preventDefault();
  play(!playing);
});

/* Divider and loupe */
const place = (event, element) => {
  const box = element.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
};
const divider = get("divider");
divider.addEventListener("pointerdown", (event) => {
  divider.setPointerCapture(event.pointerId);
  event.preventDefault();
  divider.focus({ focusVisible: false });
});
divider.addEventListener("pointermove", (event) => {
  if (divider.hasPointerCapture(event.pointerId)) cutAt(place(event, get("stage"))[0]);
});
divider.addEventListener("keydown", (event) => {
  const by = event.shiftKey ? 0.1 : 0.02;
  const to = {
    ArrowLeft: state.cut - by, ArrowDown: state.cut - by,
    ArrowRight: state.cut + by, ArrowUp: state.cut + by, Home: 0, End: 1,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  cutAt(to);
});
const watched = [get("stage"), ...titles.map((_, index) => get(`player-${index}`))];
for (const element of watched) {
  for (const kind of ["pointermove", "pointerdown"]) {
    element.addEventListener(kind, (event) => lookAt(...place(event, element)));
  }
}
get("loupe").addEventListener("keydown", (event) => {
  const by = 0.2 / state.zoom;
  const move = {
    ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by],
  }[event.key];
  if (!move) return;
  event.preventDefault();
  lookAt(state.x + move[0], state.y + move[1]);
});
for (const side of ["left", "right"]) {
  get(side).value = state[side];
  get(side).addEventListener("change", (event) => {
    state[side] = Number(event.target.value);
    show(state.frame);
  });
}
get("zoom").addEventListener("change", (event) => {
  state.zoom = Number(event.target.value);
  paintLoupe();
});

for (const canvas of document.querySelectorAll("canvas")) {
  canvas.width = clip.width;
  canvas.height = clip.height;
}
cutAt(0.5);
show(0);

// A QR code of a text, drawn here: bytes, error correction L, the smallest version that takes it, as ISO/IEC 18004 has them.
"use strict";

// By version: error correction codewords of a block, and blocks.
const correction = [7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22, 24, 28, 30, 28, 28, 28, 28, 30, 30, 26, 28, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30];
const blocksOf = [1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8, 8, 9, 9, 10, 12, 12, 12, 13, 14, 15, 16, 17, 18, 19, 19, 20, 21, 22, 24, 25];
const MASKS = [
  (x, y) => (x + y) % 2 === 0, (_, y) => y % 2 === 0, (x) => x % 3 === 0, (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2 === 0, (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0, (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

const sizeOf = (version) => version * 4 + 17;
const alignments = (version) => Math.floor(version / 7) + 2;

// Modules that data and correction may have.
const modulesOf = (version) => {
  let all = (16 * version + 128) * version + 64;
  if (version >= 2) all -= (25 * alignments(version) - 10) * alignments(version) - 55;
  return version >= 7 ? all - 36 : all;
};

const times = (a, b) => {
  let product = 0;
  for (let bit = 7; bit >= 0; bit -= 1) product = ((product << 1) ^ ((product >> 7) * 0x11d)) ^ (((b >> bit) & 1) * a);
  return product;
};

const correctionOf = (data, count) => {
  const divisor = new Array(count).fill(0);
  divisor[count - 1] = 1;
  let root = 1;
  for (let n = 0; n < count; n += 1) {
    for (let at = 0; at < count; at += 1) divisor[at] = times(divisor[at], root) ^ (divisor[at + 1] ?? 0);
    root = times(root, 2);
  }
  const rest = new Array(count).fill(0);
  for (const byte of data) {
    const factor = byte ^ rest.shift();
    rest.push(0);
    divisor.forEach((one, at) => { rest[at] ^= times(one, factor); });
  }
  return rest;
};

// The codewords of a text, with their correction, in the order in which they are drawn; null: it is too long.
const codewordsOf = (bytes) => {
  const room = (version) => Math.floor(modulesOf(version) / 8) - correction[version - 1] * blocksOf[version - 1];
  let version = 1;
  while (version <= 40 && bytes.length + (version < 10 ? 2 : 3) > room(version)) version += 1;
  if (version > 40) return null;
  const bits = [];
  const put = (value, count) => { for (let bit = count - 1; bit >= 0; bit -= 1) bits.push((value >> bit) & 1); };
  put(4, 4);
  put(bytes.length, version < 10 ? 8 : 16);
  for (const byte of bytes) put(byte, 8);
  put(0, Math.min(4, room(version) * 8 - bits.length));
  put(0, (8 - (bits.length % 8)) % 8);
  const data = [];
  for (let at = 0; at < bits.length; at += 8) data.push(Number.parseInt(bits.slice(at, at + 8).join(""), 2));
  for (let pad = 0xec; data.length < room(version); pad ^= 0xec ^ 0x11) data.push(pad);
  const all = Math.floor(modulesOf(version) / 8);
  const [count, own] = [blocksOf[version - 1], correction[version - 1]];
  const short = count - (all % count);
  const length = Math.floor(all / count) - own;
  const blocks = [];
  for (let n = 0, at = 0; n < count; n += 1) {
    const piece = data.slice(at, at + length + (n < short ? 0 : 1));
    at += piece.length;
    blocks.push([piece, correctionOf(piece, own)]);
  }
  const drawn = [];
  for (let at = 0; at <= length; at += 1) for (const [piece] of blocks) if (at < piece.length) drawn.push(piece[at]);
  for (let at = 0; at < own; at += 1) for (const [, rest] of blocks) drawn.push(rest[at]);
  return { version, drawn };
};

// Rows of modules, true where dark; null: the text is too long for a code.
const qrModules = (text) => {
  const found = codewordsOf(new TextEncoder().encode(text));
  if (!found) return null;
  const { version, drawn } = found;
  const size = sizeOf(version);
  const dark = Array.from({ length: size }, () => new Array(size).fill(false));
  const fixed = Array.from({ length: size }, () => new Array(size).fill(false));
  const set = (x, y, value) => {
    if (x < 0 || y < 0 || x >= size || y >= size) return;
    dark[y][x] = Boolean(value);
    fixed[y][x] = true;
  };
  for (let n = 0; n < size; n += 1) {
    set(6, n, n % 2 === 0);
    set(n, 6, n % 2 === 0);
  }
  const square = (x, y, radius, light) => {
    for (let dy = -radius; dy <= radius; dy += 1) {
      for (let dx = -radius; dx <= radius; dx += 1) set(x + dx, y + dy, !light.includes(Math.max(Math.abs(dx), Math.abs(dy))));
    }
  };
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) square(x, y, 4, [2, 4]);
  const places = [6];
  if (version >= 2) {
    const step = Math.floor((version * 8 + alignments(version) * 3 + 5) / (alignments(version) * 4 - 4)) * 2;
    for (let at = size - 7; places.length < alignments(version); at -= step) places.splice(1, 0, at);
  }
  for (const x of places) {
    for (const y of places) {
      const isFinder = (x === 6 && y === 6) || (x === 6 && y === size - 7) || (x === size - 7 && y === 6);
      if (version >= 2 && !isFinder) square(x, y, 2, [1]);
    }
  }
  const format = (mask) => {
    const data = (1 << 3) | mask;
    let rest = data;
    for (let n = 0; n < 10; n += 1) rest = (rest << 1) ^ ((rest >> 9) * 0x537);
    const bits = ((data << 10) | rest) ^ 0x5412;
    const bit = (n) => (bits >> n) & 1;
    for (let n = 0; n < 6; n += 1) set(8, n, bit(n));
    set(8, 7, bit(6));
    set(8, 8, bit(7));
    set(7, 8, bit(8));
    for (let n = 9; n < 15; n += 1) set(14 - n, 8, bit(n));
    for (let n = 0; n < 8; n += 1) set(size - 1 - n, 8, bit(n));
    for (let n = 8; n < 15; n += 1) set(8, size - 15 + n, bit(n));
    set(8, size - 8, true);
  };
  format(0);
  if (version >= 7) {
    let rest = version;
    for (let n = 0; n < 12; n += 1) rest = (rest << 1) ^ ((rest >> 11) * 0x1f25);
    const bits = (version << 12) | rest;
    for (let n = 0; n < 18; n += 1) {
      const [a, b] = [size - 11 + (n % 3), Math.floor(n / 3)];
      set(a, b, (bits >> n) & 1);
      set(b, a, (bits >> n) & 1);
    }
  }
  let at = 0;
  for (let right = size - 1; right >= 1; right -= 2) {
    if (right === 6) right = 5;
    for (let n = 0; n < size; n += 1) {
      for (const x of [right, right - 1]) {
        const y = ((right + 1) & 2) === 0 ? size - 1 - n : n;
        if (!fixed[y][x]) {
          dark[y][x] = ((drawn[at >> 3] >> (7 - (at & 7))) & 1) === 1;
          at += 1;
        }
      }
    }
  }
  const masked = (mask) => dark.map((row, y) => row.map((value, x) => value !== (!fixed[y][x] && MASKS[mask](x, y))));
  // Few long runs and few squares of one colour: what cameras read best.
  const cost = (rows) => {
    let sum = 0;
    const line = (get) => {
      for (let n = 1, run = 1; n < size; n += 1) {
        run = get(n) === get(n - 1) ? run + 1 : 1;
        if (run === 5) sum += 3;
        else if (run > 5) sum += 1;
      }
    };
    for (let n = 0; n < size; n += 1) {
      line((x) => rows[n][x]);
      line((y) => rows[y][n]);
    }
    for (let y = 1; y < size; y += 1) {
      for (let x = 1; x < size; x += 1) {
        if (rows[y][x] === rows[y][x - 1] && rows[y][x] === rows[y - 1][x] && rows[y][x] === rows[y - 1][x - 1]) sum += 3;
      }
    }
    return sum;
  };
  let best = { cost: Infinity };
  for (let mask = 0; mask < 8; mask += 1) {
    format(mask);
    const rows = masked(mask);
    const own = cost(rows);
    if (own < best.cost) best = { cost: own, rows };
  }
  return best.rows;
};

// A drawing of it; null: the text is too long for a code.
const qrDrawing = (text) => {
  const rows = qrModules(text);
  if (!rows) return null;
  const quiet = 4;
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawing.setAttribute("viewBox", `${-quiet} ${-quiet} ${rows.length + 2 * quiet} ${rows.length + 2 * quiet}`);
  drawing.setAttribute("shape-rendering", "crispEdges");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", rows.flatMap((row, y) => row.map((value, x) => (value ? `M${x} ${y}h1v1h-1z` : ""))).join(""));
  drawing.append(path);
  return drawing;
};

// Makes this device's key in this browser, has its public half enrolled, and writes the file here: the private half is sent nowhere.
"use strict";

const spot = document.querySelector("[data-enroll]");
const told = spot.querySelector("[data-said]");
const say = (text, kind) => {
  told.textContent = text;
  told.className = kind;
};
const base64 = (bytes) => btoa(String.fromCharCode(...bytes));

// The pair, as WireGuard writes keys; null: this browser has no X25519.
const makePair = async () => {
  try {
    const pair = await crypto.subtle.generateKey({ name: "X25519" }, true, ["deriveBits"]);
    const { d } = await crypto.subtle.exportKey("jwk", pair.privateKey);
    const scalar = Uint8Array.from(atob(d.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    const point = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
    if (scalar.length !== 32 || point.length !== 32) return null;
    // As `wg genkey` does: the public half is the same.
    scalar[0] &= 248;
    scalar[31] = (scalar[31] & 127) | 64;
    return { privateKey: base64(scalar), publicKey: base64(point) };
  } catch {
    return null;
  }
};

const show = (content) => {
  const text = document.createElement("pre");
  text.tabIndex = 0;
  text.setAttribute("aria-labelledby", "here");
  text.dataset.conf = "";
  text.textContent = content;
  const link = document.createElement("a");
  link.className = "button main";
  link.download = spot.dataset.file;
  link.href = `data:application/octet-stream;base64,${base64(new TextEncoder().encode(content))}`;
  link.textContent = spot.dataset.download;
  const file = document.createElement("p");
  file.append(link);
  const code = document.createElement("p");
  code.className = "hint";
  code.textContent = spot.dataset.code;
  spot.append(file, code);
  // As wgrelay's own codes: what is only for people is left out.
  const short = content.split("\n").filter((line) => line && !line.startsWith("#")).join("\n");
  const drawing = qrDrawing(short);
  if (drawing) {
    const frame = document.createElement("div");
    frame.className = "qr";
    frame.setAttribute("role", "img");
    frame.setAttribute("aria-label", spot.dataset.qr);
    frame.append(drawing);
    spot.append(frame);
  }
  spot.append(text);
};

const enroll = async (button, pair) => {
  button.disabled = true;
  say(spot.dataset.working, "");
  try {
    const answer = await fetch(spot.dataset.enroll, {
      method: "POST",
      credentials: "same-origin",
      redirect: "error",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ link: spot.dataset.link, public_key: pair.publicKey }),
    });
    const done = await answer.json();
    if (!answer.ok) {
      say(`${spot.dataset.failed}: ${done.error.message} ${done.error.hint}`, "bad");
      button.disabled = false;
      return;
    }
    button.remove();
    // The link is used up: there is no other way by it any more.
    for (const other of document.querySelectorAll("main > section:not([data-enroll])")) other.remove();
    say(done.applied ? spot.dataset.applied : spot.dataset.waiting, done.applied ? "good" : "warn");
    show(done.content.replace(/^#\s*PrivateKey = .*$/m, () => `PrivateKey = ${pair.privateKey}`));
  } catch (error) {
    say(`${spot.dataset.failed}: ${error.message}`, "bad");
    button.disabled = false;
  }
};

if (!globalThis.isSecureContext || !globalThis.crypto?.subtle) {
  say(spot.dataset.insecure, "warn");
} else {
  makePair().then((pair) => {
    if (!pair) {
      say(spot.dataset.unable, "warn");
      return;
    }
    say("", "");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "main";
    button.textContent = spot.dataset.make;
    button.addEventListener("click", () => enroll(button, pair));
    told.after(button);
  });
}

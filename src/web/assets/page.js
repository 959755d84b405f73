// What the pages do beyond forms and links; each of them works without.
"use strict";

// Keeps a page as it is now: the server's own markup, asked for while somebody looks, when the server says that something changed; where it
// cannot be listened to, every few seconds.
const live = document.querySelector("[data-live]");
if (live) {
  const every = 5000;
  let asking = false;
  let due = false;
  let news;
  let stream;
  let listening = false;
  const refresh = async () => {
    if (asking || document.hidden || live.contains(document.activeElement)) return;
    asking = true;
    due = false;
    try {
      const answer = await fetch(live.dataset.live, { credentials: "same-origin", redirect: "error" });
      if (answer.ok) {
        const fresh = await answer.text();
        if (fresh !== live.dataset.last) {
          const part = new DOMParser().parseFromString(fresh, "text/html");
          const spot = live.querySelector(".picture");
          const at = spot ? [spot.scrollLeft, spot.scrollTop] : [0, 0];
          live.replaceChildren(...part.body.childNodes);
          live.querySelector(".picture")?.scrollTo(at[0], at[1]);
          live.dataset.last = fresh;
        }
      }
    } catch {
      due = true;
    } finally {
      asking = false;
    }
  };
  // Nobody looks: nothing is listened to, and a browser has few connections to one host.
  const listen = () => {
    if (document.hidden) {
      stream?.close();
      stream = undefined;
      listening = false;
      return;
    }
    if (!live.dataset.events || !window.EventSource || (stream && stream.readyState !== EventSource.CLOSED)) return;
    stream = new EventSource(live.dataset.events);
    stream.onopen = () => { listening = true; };
    stream.onerror = () => { listening = false; };
    stream.onmessage = (event) => {
      if (event.data === news) return;
      due = true;
      news = event.data;
      refresh();
    };
  };
  listen();
  document.addEventListener("visibilitychange", listen);
  addEventListener("pagehide", () => stream?.close());
  addEventListener("pageshow", listen);
  setInterval(() => { if (due || !listening) refresh(); }, every);
  // Where it was full, there may be room by now.
  setInterval(listen, 12 * every);
}

// Counts the seconds down until a change goes back.
for (const spot of document.querySelectorAll("[data-countdown]")) {
  const end = Date.now() + Number(spot.dataset.countdown) * 1000;
  const tick = () => {
    const left = Math.max(0, Math.ceil((end - Date.now()) / 1000));
    spot.textContent = spot.dataset.text.replace("{0}", String(left));
    if (left > 0) setTimeout(tick, 1000);
    else setTimeout(() => location.reload(), 2000);
  };
  tick();
}

// A fault's line is shown in the editor.
const editor = document.querySelector("textarea[data-lines]");
for (const link of document.querySelectorAll("[data-line]")) {
  link.addEventListener("click", (event) => {
    if (!editor) return;
    event.preventDefault();
    const lines = editor.value.split("\n");
    const line = Math.min(Number(link.dataset.line), lines.length);
    const start = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
    editor.focus();
    editor.setSelectionRange(start, start + lines[line - 1].length);
    editor.scrollTop = (editor.scrollHeight / lines.length) * Math.max(0, line - 4);
  });
}

// Leaving with an edited text is asked about.
if (editor && !editor.readOnly) {
  const before = editor.value;
  let sent = false;
  editor.form.addEventListener("submit", () => { sent = true; });
  addEventListener("beforeunload", (event) => {
    if (!sent && editor.value !== before) event.preventDefault();
  });
}

// Back is where one came from, with what was typed.
for (const link of document.querySelectorAll("[data-back]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    history.back();
  });
}

// A link begins as the page that made it does.
for (const spot of document.querySelectorAll("[data-link-path]")) {
  spot.textContent = location.origin + spot.dataset.linkPath;
}

// A form is sent once.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
  });
}
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// "/" goes to the search, as elsewhere.
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select");
  const search = document.querySelector("input[type=search]");
  if (event.key !== "/" || typing || !search || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  search.focus();
});

// Looks at every page in Chromium: dark and light, three widths, under the policy that the server sends. Fails on what axe-core
// finds, on what runs wide, and on anything that the console tells. `cargo test --test pages` writes the pages and starts it:
//
//     node pages.mjs PAGES     WGRELAY_SHOTS: a folder for pictures
import { createServer } from "node:http";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { findings, launch, shot, tooWide } from "./tour.mjs";

const [pages] = process.argv.slice(2);
const assets = new URL("../../src/web/assets/", import.meta.url);
const types = { css: "text/css", js: "text/javascript", svg: "image/svg+xml", html: "text/html; charset=utf-8" };
const policy = readFileSync(join(pages, "policy"), "utf8");

const server = createServer((request, response) => {
  const path = new URL(request.url, "http://x").pathname;
  try {
    const body = path.startsWith("/assets/") ? readFileSync(new URL(path.slice(8), assets)) : readFileSync(join(pages, path));
    response.writeHead(200, { "content-type": types[path.split(".").pop()], "content-security-policy": policy });
    response.end(body);
  } catch {
    response.writeHead(404).end();
  }
}).listen(0, "127.0.0.1");
await new Promise((resolve) => server.once("listening", resolve));
const base = `http://127.0.0.1:${server.address().port}`;

const browser = await launch();
const names = readdirSync(pages).filter((name) => name.endsWith(".html")).sort();
const faults = [];
let looked = 0;
for (const colorScheme of ["light", "dark"]) {
  const context = await browser.newContext({ colorScheme, viewport: { width: 360, height: 800 } });
  const page = await context.newPage();
  let said = [];
  page.on("console", (message) => message.type() === "error" && said.push(message.text()));
  page.on("pageerror", (error) => said.push(String(error)));
  // What is dark has its own colours, and no other words.
  for (const name of names.filter((name) => colorScheme === "light" || !name.endsWith("-zh.html"))) {
    said = [];
    await page.goto(`${base}/${name}`, { waitUntil: "load" });
    for (const width of [360, 768, 1440]) {
      const at = `${name} ${colorScheme} ${width}`;
      await page.setViewportSize({ width, height: 800 });
      const wide = await tooWide(page);
      if (wide > 0) faults.push(`${at}: ${wide} px too wide`);
      // What it says of a page differs by scheme, and hardly by width.
      if (width === 360) for (const found of await findings(page)) faults.push(`${at}: ${found}`);
      await shot(page, at.replace(".html", "").replaceAll(" ", "-"));
      looked += 1;
    }
    for (const text of said.filter((text) => !text.includes("404"))) faults.push(`${name}: ${text}`);
  }
  await context.close();
}
await browser.close();
server.close();
console.log(`${looked} views of ${names.length} pages, ${faults.length} faults`);
for (const fault of faults) console.log(fault);
process.exit(faults.length || names.length < 20 ? 1 : 0);

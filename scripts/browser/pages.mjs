// Looks at every page in Chromium: dark and light, three widths, under the policy that the server sends. Fails on what axe-core
// finds, on what runs wide, and on anything that the console tells.
//
//     node pages.mjs PAGES [SHOTS]     PAGES as `WGRELAY_PAGES=PAGES cargo test --test pages` writes them; SHOTS: a folder for pictures
import { createServer } from "node:http";
import { readFileSync, readdirSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [pages, shots] = process.argv.slice(2);
const assets = new URL("../../src/web/assets/", import.meta.url);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const types = { css: "text/css", js: "text/javascript", svg: "image/svg+xml", html: "text/html; charset=utf-8" };
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'";

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

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const names = readdirSync(pages).filter((name) => name.endsWith(".html")).sort();
const faults = [];
let looked = 0;
if (shots) mkdirSync(shots, { recursive: true });
for (const colorScheme of ["light", "dark"]) {
  for (const width of [360, 768, 1440]) {
    const context = await browser.newContext({ colorScheme, viewport: { width, height: 800 }, bypassCSP: false });
    const page = await context.newPage();
    let said = [];
    page.on("console", (message) => message.type() === "error" && said.push(message.text()));
    page.on("pageerror", (error) => said.push(String(error)));
    for (const name of names) {
      const at = `${name} ${colorScheme} ${width}`;
      said = [];
      await page.goto(`${base}/${name}`, { waitUntil: "load" });
      // The tool itself runs apart from the page's policy, as the browser's own tools do.
      const found = await page.evaluate(`${axe}; axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })`);
      for (const { id, nodes } of found.violations) for (const node of nodes.slice(0, 3)) faults.push(`${at}: ${id}: ${node.html.slice(0, 160)}`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 0) faults.push(`${at}: ${wide} px too wide`);
      for (const text of said.filter((text) => !text.includes("404"))) faults.push(`${at}: ${text}`);
      if (shots) await page.screenshot({ path: join(shots, `${name.replace(".html", "")}-${colorScheme}-${width}.png`), fullPage: true });
      looked += 1;
    }
    await context.close();
  }
}
await browser.close();
server.close();
console.log(`${looked} views of ${names.length} pages, ${faults.length} faults`);
for (const fault of faults) console.log(fault);
process.exit(faults.length ? 1 : 0);

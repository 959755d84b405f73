// Goes through a running page by mouse and keyboard: log in, look, add a node and see its QR code, have a blocked pair explained and
// mended by its button, meet a fault in the file, see the revisions.
//
//     node flow.mjs http://127.0.0.1:8480 USER PASSWORD [SHOTS]
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [base, user, password, shots] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
if (shots) mkdirSync(shots, { recursive: true });
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, locale: "en" });
const page = await context.newPage();
page.setDefaultTimeout(60000);
const faults = [];
let step = "";
page.on("pageerror", (error) => faults.push(`${step}: ${error}`));
page.on("console", (message) => message.type() === "error" && !message.text().includes("status of 4") && faults.push(`${step}: ${message.text()}`));

const must = (holds, what) => { if (!holds) throw new Error(`${step}: ${what}`); };
const answer = () => page.locator(".answer").innerText();
async function at(name) {
  step = name;
  const found = await page.evaluate(`${axe}; axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })`);
  for (const { id, nodes } of found.violations) faults.push(`${name}: ${id}: ${nodes[0].html.slice(0, 160)}`);
  if (shots) await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
  console.log(`${name}: ${(await answer()).slice(0, 150)}`);
}
const go = async (button) => Promise.all([page.waitForNavigation(), button.click()]);

try {
  step = "login";
  await page.goto(base);
  await at("login");
  await page.getByLabel("User").fill(user);
  await page.getByLabel("Password").fill("wrong wrong wrong");
  await go(page.getByRole("button", { name: "Log in" }));
  must((await answer()).includes("is wrong"), "a wrong password is told");
  await page.getByLabel("User").fill(user);
  await page.getByLabel("Password").fill(password);
  await go(page.getByRole("button", { name: "Log in" }));
  await at("overview");
  must(await page.locator(".picture svg a").count() >= 3, "the picture has its boxes");

  // By keyboard alone: past the menu into the content.
  await page.keyboard.press("Tab");
  must(await page.evaluate(() => document.activeElement.className === "skip"), "the first stop skips the menu");
  await page.keyboard.press("Enter");

  step = "add";
  await go(page.getByRole("link", { name: "Nodes", exact: true }));
  await at("nodes");
  await go(page.getByRole("link", { name: "Add a node" }));
  await page.getByLabel("Name").fill("not a name");
  await go(page.getByRole("button", { name: "Review" }));
  must(await page.locator(".answer [role=alert]").count() === 1, "a bad name is told where it was typed");
  await page.getByLabel("Name").fill("tablet");
  await page.getByLabel("Platform").selectOption("ios");
  await go(page.getByRole("button", { name: "Review" }));
  await at("review-add");
  must((await page.locator("main").innerText()).includes("[node.tablet]"), "the lines are shown");
  await go(page.getByRole("button", { name: "Save only" }));
  await page.goto(`${base}/nodes/tablet`);
  await at("node");
  await page.getByLabel("Your password").fill(password);
  await go(page.getByRole("button", { name: "Show file and QR code" }));
  await at("qr");
  must(await page.locator(".qr svg").count() === 1, "there is a code");
  must((await page.locator("pre.conf").innerText()).includes("PrivateKey"), "there is the file");

  step = "mend";
  await page.goto(`${base}/matrix`);
  await at("matrix");
  await go(page.locator('table.matrix a[href*="from=windows"][href*="to=docker"]').first());
  await at("trace-blocked");
  must((await answer()).includes("windows does not reach docker"), "it is said");
  await go(page.locator(".reason button").first());
  await at("review-mend");
  must((await page.locator("main").innerText()).includes("windows → docker"), "the pair that it opens is shown");
  await go(page.getByRole("button", { name: "Save only" }));
  await page.goto(`${base}/trace?from=windows&to=docker`);
  await at("trace-reaches");
  must((await answer()).includes("windows reaches docker"), "it is mended");

  step = "file";
  await page.goto(`${base}/file`);
  const text = await page.locator("textarea").inputValue();
  await page.locator("textarea").fill(`${text}\n[node.bad]\naddress = "nonsense"\n`);
  await go(page.getByRole("button", { name: "Review" }));
  await at("file-faults");
  must((await answer()).includes("faults"), "faults are told");
  must((await page.locator("textarea").inputValue()).includes("nonsense"), "what was typed is still there");

  for (const name of ["rules", "changes", "doctor", "people", "audit", "plan"]) {
    step = name;
    await page.goto(`${base}/${name}`);
    await at(name);
  }
  step = "language";
  await page.goto(`${base}/nodes`);
  await go(page.getByRole("link", { name: "中文" }));
  must((await page.locator("html").getAttribute("lang")) === "zh", "the page speaks Chinese");
  await page.goto(`${base}/matrix`);
  must((await page.locator("html").getAttribute("lang")) === "zh", "and so does the next");
} catch (error) {
  faults.push(String(error).split("\n").slice(0, 4).join(" "));
  if (shots) await page.screenshot({ path: join(shots, "failed.png"), fullPage: true });
}
await browser.close();
console.log(`${faults.length} faults`);
for (const fault of faults) console.log(fault);
process.exit(faults.length ? 1 : 0);

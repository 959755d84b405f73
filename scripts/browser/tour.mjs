// What every tour of the page in Chromium has: the browser, steps that axe-core looks at, and faults, told at the end. WGRELAY_SHOTS
// names a folder for a picture of each step.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const shots = process.env.WGRELAY_SHOTS;
if (shots) mkdirSync(shots, { recursive: true });

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });

/// What axe-core finds on a page, a line each. The tool itself runs apart from the page's policy, as the browser's own tools do.
export async function findings(page) {
  const found = await page.evaluate(`${axe}; axe.run(document, { runOnly: ${JSON.stringify(rules)}, resultTypes: ["violations"] })`);
  return found.violations.flatMap(({ id, nodes }) => nodes.slice(0, 3).map(({ html }) => `${id}: ${html.slice(0, 160)}`));
}

/// How many pixels a page is wider than its window.
export const tooWide = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

export const shot = async (page, name) => shots && page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });

/// Goes through a running page, and ends the process: 1 where anything was not as it must be.
export async function tour(work) {
  const faults = [];
  let step = "begin";
  let last;
  const browser = await launch();
  const stranger = async () => {
    const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, locale: "en", acceptDownloads: true });
    const page = await context.newPage();
    page.setDefaultTimeout(60000);
    page.on("pageerror", (error) => faults.push(`${step}: ${error}`));
    page.on("console", (message) => message.type() === "error" && !message.text().includes("status of 4") && faults.push(`${step}: ${message.text()}`));
    last = page;
    return page;
  };
  const tools = {
    faults,
    stranger,
    begin: (name) => { step = name; },
    must: (holds, what) => { if (!holds) throw new Error(`${step}: ${what}`); },
    answer: (page) => page.locator(".answer").innerText(),
    go: async (page, button) => Promise.all([page.waitForNavigation(), button.click()]),
    /// A page that is looked at: by axe-core, and whether it fits a phone.
    at: async (page, name) => {
      step = name;
      for (const found of await findings(page)) faults.push(`${name}: ${found}`);
      const size = page.viewportSize();
      await page.setViewportSize({ width: 360, height: 800 });
      const wide = await tooWide(page);
      if (wide > 0) faults.push(`${name}: ${wide} px too wide for 360 px`);
      await page.setViewportSize(size);
      await shot(page, name);
      console.log(`${name}: ${(await page.locator(".answer").innerText()).slice(0, 150)}`);
    },
    signIn: async (page, user, password) => {
      await page.getByLabel("User").fill(user);
      await page.getByLabel("Password").fill(password);
      await Promise.all([page.waitForNavigation(), page.getByRole("button", { name: "Log in" }).click()]);
    },
    /// Puts the focus on what is asked for by Tab alone, as who has no mouse does.
    reach: async (page, locator) => {
      for (let n = 0; n < 120; n += 1) {
        if (await locator.evaluate((element) => element === document.activeElement)) return;
        await page.keyboard.press("Tab");
      }
      throw new Error(`${step}: it is not reached by the keyboard`);
    },
  };
  try {
    await work(tools);
  } catch (error) {
    faults.push(`${step}: ${String(error).split("\n").slice(0, 6).join(" ")}`);
    if (last) {
      faults.push(`the page then: ${last.url()} ${(await last.locator("main").innerText().catch(() => "")).slice(0, 600)}`);
      await shot(last, "failed").catch(() => {});
    }
  }
  await browser.close();
  console.log(`${faults.length} faults`);
  for (const fault of faults) console.log(fault);
  process.exit(faults.length ? 1 : 0);
}

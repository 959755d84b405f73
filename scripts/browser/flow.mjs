// Goes through a running page by mouse and keyboard: log in, look, add a node and see its QR code, have a blocked pair explained and
// mended by its button, switch a node off by keyboard alone, meet a fault in the file, see everything else.
//
//     node flow.mjs http://127.0.0.1:8480 USER PASSWORD
import { tour } from "./tour.mjs";

const [base, user, password] = process.argv.slice(2);
await tour(async ({ stranger, begin, must, answer, go, at, signIn, reach }) => {
  const page = await stranger();
  begin("login");
  await page.goto(base);
  await at(page, "login");
  await signIn(page, user, "wrong wrong wrong");
  must((await answer(page)).includes("is wrong"), "a wrong password is told");
  await signIn(page, user, password);
  await at(page, "overview");
  must(await page.locator(".picture svg a").count() >= 3, "the picture has its boxes");

  begin("add");
  await go(page, page.getByRole("link", { name: "Nodes", exact: true }));
  await at(page, "nodes");
  await go(page, page.getByRole("link", { name: "Add a node" }));
  await page.getByLabel("Name").fill("not a name");
  await go(page, page.getByRole("button", { name: "Review" }));
  must(await page.locator(".answer [role=alert]").count() === 1, "a bad name is told where it was typed");
  await page.getByLabel("Name").fill("tablet");
  await page.getByLabel("Platform").selectOption("ios");
  await go(page, page.getByRole("button", { name: "Review" }));
  await at(page, "review-add");
  must((await page.locator("main").innerText()).includes("[node.tablet]"), "the lines are shown");
  await go(page, page.getByRole("button", { name: "Save only" }));
  await page.goto(`${base}/nodes/tablet`);
  await at(page, "node");
  await page.getByLabel("Your password").fill(password);
  await go(page, page.getByRole("button", { name: "Show file and QR code" }));
  await at(page, "qr");
  must(await page.locator(".qr svg").count() === 1, "there is a code");
  must((await page.locator("pre.conf").innerText()).includes("PrivateKey"), "there is the file");

  begin("mend");
  await page.goto(`${base}/matrix`);
  await at(page, "matrix");
  await go(page, page.locator('table.matrix a[href*="from=windows"][href*="to=docker"]').first());
  await at(page, "trace-blocked");
  must((await answer(page)).includes("windows does not reach docker"), "it is said");
  await go(page, page.locator(".reason button").first());
  await at(page, "review-mend");
  must((await page.locator("main").innerText()).includes("windows → docker"), "the pair that it opens is shown");
  await go(page, page.getByRole("button", { name: "Save only" }));
  await page.goto(`${base}/trace?from=windows&to=docker`);
  await at(page, "trace-reaches");
  must((await answer(page)).includes("windows reaches docker"), "it is mended");

  begin("keyboard");
  await page.goto(`${base}/`);
  await page.keyboard.press("Tab");
  must(await page.evaluate(() => document.activeElement.className === "skip"), "the first stop skips the menu");
  const enter = async (locator) => {
    await reach(page, locator);
    await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  };
  await enter(page.getByRole("link", { name: "Nodes", exact: true }));
  await page.keyboard.press("/");
  must(await page.evaluate(() => document.activeElement.type === "search"), "/ goes to the search");
  await page.keyboard.type("tablet");
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  await enter(page.getByRole("link", { name: "tablet", exact: true }));
  await enter(page.getByRole("button", { name: "Disable" }));
  await at(page, "review-disable");
  await enter(page.getByRole("button", { name: "Save only" }));
  await page.goto(`${base}/file`);
  must(/\[node\.tablet\][^[]*enabled = false/.test(await page.locator("textarea").inputValue()), "it is switched off");

  begin("file");
  const text = await page.locator("textarea").inputValue();
  await page.locator("textarea").fill(`${text}\n[node.bad]\naddress = "nonsense"\n`);
  await go(page, page.getByRole("button", { name: "Review" }));
  await at(page, "file-faults");
  must((await answer(page)).includes("faults"), "faults are told");
  must((await page.locator("textarea").inputValue()).includes("nonsense"), "what was typed is still there");

  for (const name of ["rules", "changes", "doctor", "people", "audit", "notifications", "plan", "links"]) {
    begin(name);
    await page.goto(`${base}/${name}`);
    await at(page, name);
  }
  begin("language");
  await page.goto(`${base}/nodes`);
  await go(page, page.getByRole("link", { name: "中文" }));
  must((await page.locator("html").getAttribute("lang")) === "zh", "the page speaks Chinese");
  await page.goto(`${base}/matrix`);
  must((await page.locator("html").getAttribute("lang")) === "zh", "and so does the next");
});

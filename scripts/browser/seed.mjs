// From the link of `wgrelay web init` to a spoke's file and QR code, by mouse: the first admin, the network up and kept, the file.
//
//     node seed.mjs LINK USER PASSWORD FOLDER     FOLDER gets windows.conf and qr.png
import { join } from "node:path";
import { tour } from "./tour.mjs";

const [link, user, password, folder] = process.argv.slice(2);
await tour(async ({ stranger, begin, must, go, at, signIn }) => {
  const page = await stranger();
  begin("first admin");
  await page.goto(link);
  await at(page, "init");
  await page.getByLabel("User").fill(user);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByLabel(/again/).fill(password);
  await go(page, page.locator("form button.main"));
  await signIn(page, user, password);
  await at(page, "overview-down");
  begin("up");
  await go(page, page.locator("#live").getByRole("link", { name: "Plan" }));
  await at(page, "plan-up");
  await go(page, page.getByRole("button", { name: "Apply" }));
  await at(page, "goes-back");
  must(await page.locator("[data-countdown]").count() === 1, "it is told that it goes back");
  await go(page, page.getByRole("button", { name: "Keep this change" }));
  must(await page.locator("[data-countdown]").count() === 0, "it is kept");
  await at(page, "overview-up");
  begin("file");
  await go(page, page.locator(".picture svg a").filter({ hasText: "windows" }).first());
  await at(page, "node-windows");
  await page.getByLabel("Your password").fill(password);
  await go(page, page.getByRole("button", { name: "Show file and QR code" }));
  await at(page, "qr-windows");
  await page.locator(".qr").screenshot({ path: join(folder, "qr.png") });
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download windows.conf" }).click()]);
  await download.saveAs(join(folder, "windows.conf"));
});

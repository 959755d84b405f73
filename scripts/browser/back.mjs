// Somebody locks windows out, applies that, and confirms nothing: the page counts down, and the host is as it was.
//
//     node back.mjs http://127.0.0.1:8480 USER PASSWORD
import { tour } from "./tour.mjs";

const [base, user, password] = process.argv.slice(2);
await tour(async ({ stranger, begin, must, go, at, signIn }) => {
  const page = await stranger();
  begin("lock out");
  await page.goto(`${base}/nodes/windows`);
  await signIn(page, user, password);
  await go(page, page.getByRole("button", { name: "Disable" }));
  await at(page, "review-lock-out");
  must((await page.locator("#closes").count()) === 1, "the pairs that it closes are shown");
  await page.getByLabel(/confirm/i).fill("10");
  await go(page, page.getByRole("button", { name: "Save and apply" }));
  must((await page.locator("[data-countdown]").count()) === 1, "it is told that it goes back");
  begin("back");
  // The page asks again by itself when the time is over.
  await page.locator("[data-countdown]").waitFor({ state: "detached" });
  await at(page, "went-back");
});

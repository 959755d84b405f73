// An operator makes a link; a device that knows nothing else opens it, makes its key by WebCrypto, and gets its file. Its private
// key leaves the browser in no request, and the link is good once.
//
//     node phone.mjs http://127.0.0.1:8480 USER PASSWORD FOLDER     FOLDER gets pixel.conf and pixel.png
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { tour } from "./tour.mjs";

const [base, user, password, folder] = process.argv.slice(2);
await tour(async ({ stranger, begin, must, go, at, signIn }) => {
  const page = await stranger();
  begin("link");
  await page.goto(base);
  await signIn(page, user, password);
  await go(page, page.getByRole("link", { name: "Nodes", exact: true }));
  await go(page, page.getByRole("link", { name: "Links for new devices" }));
  await page.getByLabel("Name").fill("pixel");
  await page.getByLabel("Platform").selectOption("android");
  await go(page, page.getByRole("button", { name: "Make a link" }));
  await at(page, "link-made");
  const link = await page.locator("[data-link-path]").innerText();
  must(link.startsWith(`${base}/enroll?link=`), `the link is whole: ${link}`);

  begin("device");
  const [phone, late] = [await stranger(), await stranger()];
  const sent = [];
  for (const device of [phone, late]) device.on("request", (request) => sent.push(request.url(), request.postData() ?? ""));
  await phone.goto(link);
  await late.goto(link);
  const make = (device) => device.getByRole("button", { name: "Make the key and enroll" });
  await make(late).waitFor();
  await at(phone, "enroll");
  await make(phone).click();
  await phone.locator("[data-conf]").waitFor();
  must((await phone.locator("[data-said]").innerText()).includes("taken in"), "the relay took it in");
  await at(phone, "enrolled");
  const [download] = await Promise.all([phone.waitForEvent("download"), phone.getByRole("link", { name: "Download pixel.conf" }).click()]);
  await download.saveAs(join(folder, "pixel.conf"));
  await phone.locator(".qr").screenshot({ path: join(folder, "pixel.png") });
  const conf = readFileSync(join(folder, "pixel.conf"), "utf8");
  must(conf === await phone.locator("[data-conf]").textContent(), "what is saved is what is shown");
  const key = /^PrivateKey = (\S{44})$/m.exec(conf)?.[1];
  must(key, "the private key is in the file");
  must(!sent.some((text) => text.includes(key) || decodeURIComponent(text).includes(key)), "and in no request");
  await make(late).click();
  await late.locator("[data-said].bad").waitFor();
  await at(late, "enroll-late");
});

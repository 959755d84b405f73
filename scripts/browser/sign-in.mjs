// People sign in by a real provider, which this starts: what they may is what their groups may, whoever is in none gets nothing, and a
// key leaves for whoever typed the password there once more.
//
//     node sign-in.mjs http://127.0.0.1:8480 PORT CLIENT SECRET
import { provide } from "./provider.mjs";
import { tour } from "./tour.mjs";

const [base, port, id, secret] = process.argv.slice(2);
const people = { anna: ["staff", "wg-admins"], otto: ["ops"], zoe: ["wg-admin", "WG-ADMINS", "wg-admins,ops"], nina: [] };
const { issuer, asked } = await provide({ port, people, client: { id, secret, redirect: `${base}/oidc/callback` } });

await tour(async ({ stranger, begin, must, answer, go, at }) => {
  const letIn = async (page, name) => {
    await page.getByLabel("Name").fill(name);
    await page.getByLabel("Password").fill("any");
    // What is asked of the browser on its way leads on by itself.
    await Promise.all([page.waitForURL((url) => url.origin === base && url.pathname !== "/oidc/login"), page.getByRole("button").click()]);
  };
  const signIn = async (page, name) => {
    await page.goto(`${base}/login?next=/nodes`);
    await go(page, page.getByRole("link", { name: /127\.0\.0\.1/ }));
    must(page.url().startsWith(`${issuer}/interaction/`), `the provider asks who it is: ${page.url()}`);
    await letIn(page, name);
  };
  const status = async (page, path) => (await page.request.get(`${base}${path}`)).status();

  begin("an admin");
  const anna = await stranger();
  await signIn(anna, "anna");
  await anna.waitForURL(`${base}/nodes`);
  const began = new URL(asked.find((url) => url.startsWith("/auth?")), issuer).searchParams;
  must(began.get("response_type") === "code" && began.get("code_challenge_method") === "S256", "by code and PKCE");
  for (const place of ["/.well-known/openid-configuration", "/token", "/jwks", "/me"]) must(asked.includes(place), `${place} was asked`);
  must(await status(anna, "/people") === 200, "her group may all");
  await anna.goto(`${base}/people`);
  must(/anna[^]*by the provider/.test(await anna.locator("main").innerText()), "she is a user by the provider");
  await at(anna, "people-by-provider");

  begin("an operator");
  const otto = await stranger();
  await signIn(otto, "otto");
  await otto.waitForURL(`${base}/nodes`);
  must(await status(otto, "/api/v1/nodes") === 200 && await status(otto, "/people") === 403, "his group may some");

  for (const name of ["zoe", "nina"]) {
    begin(`nobody's: ${name}`);
    const page = await stranger();
    await signIn(page, name);
    await at(page, `in-no-group-${name}`);
    must((await answer(page)).includes("may nothing here"), "it is told");
    must(await status(page, "/api/v1/nodes") === 401, "and so it is");
    await page.goto(`${base}/nodes`);
    must(new URL(page.url()).pathname === "/login", "there is no session");
  }

  begin("a key");
  await otto.goto(`${base}/nodes/windows`);
  const file = () => otto.getByRole("button", { name: "Show file and QR code" });
  must(await file().count() === 0, "when he typed his password there is not known");
  await go(otto, otto.locator('a[href*="again=yes"]'));
  must(otto.url().startsWith(`${issuer}/interaction/`), "the provider asks again, though he is signed in there");
  await letIn(otto, "otto");
  await otto.waitForURL(`${base}/nodes/windows`);
  await go(otto, file());
  must((await otto.locator("pre.conf").innerText()).includes("PrivateKey"), "the file is his");
  const auths = asked.filter((url) => url.startsWith("/auth?")).length;

  begin("what was used");
  // Without a word, since he is signed in there; what he brought back once is good no more.
  let back;
  otto.on("request", (request) => { if (request.url().includes("/oidc/callback?")) back = request.url(); });
  await otto.goto(`${base}/oidc/login?next=/nodes`);
  await otto.waitForURL(`${base}/nodes`);
  must(asked.filter((url) => url.startsWith("/auth?")).length === auths + 1, "the provider knows him still");
  const tokens = asked.filter((url) => url === "/token").length;
  const again = await anna.goto(back);
  must(again.status() === 401 && await status(otto, "/api/v1/nodes") === 200, "nobody else gets in by it");
  must((await otto.goto(back)).status() === 401, "nor he once more");
  must(asked.filter((url) => url === "/token").length === tokens, "the code went nowhere");

  begin("out");
  await otto.goto(`${base}/nodes`);
  await go(otto, otto.getByRole("button", { name: "Log out" }));
  must((await otto.locator('main a[rel="noreferrer"]').getAttribute("href")).startsWith(`${issuer}/session/end?`), "the way out there is shown");
  must(await status(otto, "/api/v1/nodes") === 401, "he is out here");
});

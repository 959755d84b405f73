// A real provider of OpenID Connect, npm's oidc-provider, on this host alone, for as long as this process is: people by name, each with
// groups, and any password. It insists on PKCE, and tells of groups at userinfo alone, as most do.
import { createServer } from "node:http";
import { once } from "node:events";
import { Provider } from "oidc-provider";

const form = (uid, name) => `<!doctype html><html lang="en"><title>provider</title><form method="post" action="/interaction/${uid}">
<label>Name <input name="login" value="${name}"></label> <label>Password <input name="password" type="password"></label>
<button type="submit">Let me in</button></form></html>`;

async function body(request) {
  let text = "";
  for await (const part of request) text += part;
  return new URLSearchParams(text);
}

/// Starts one. `people`: the groups of each, by name; `client`: id, secret and where it leads back to. What it was asked is in `asked`.
export async function provide({ port, people, client }) {
  const issuer = `http://127.0.0.1:${port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: client.id, client_secret: client.secret, redirect_uris: [client.redirect] }],
    claims: { openid: ["sub"], profile: ["preferred_username"], groups: ["groups"] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, preferred_username: id, groups: people[id] }),
    }),
    pkce: { required: () => true },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    // Whoever is let in was asked for all of it.
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope("openid profile groups");
      await grant.save();
      return grant;
    },
    cookies: { keys: ["for a test"] },
  });
  const asked = [];
  const inner = provider.callback();
  const server = createServer(async (request, response) => {
    asked.push(request.url);
    if (!request.url.startsWith("/interaction/")) return inner(request, response);
    try {
      const { uid, prompt } = await provider.interactionDetails(request, response);
      const typed = request.method === "POST" && await body(request);
      if (typed && typed.get("login") in people && typed.get("password")) {
        const result = { login: { accountId: typed.get("login") } };
        return await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
      }
      asked.push(`prompt ${prompt.name}: ${prompt.reasons}`);
      response.setHeader("content-type", "text/html; charset=utf-8");
      response.end(form(uid, ""));
    } catch (error) {
      response.statusCode = 400;
      response.end(String(error));
    }
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return { issuer, asked };
}

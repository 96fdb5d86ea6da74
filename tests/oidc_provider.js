/**
 * `node tests/oidc_provider.js PORT REDIRECT_URI`: a real OpenID provider (npm's `oidc-provider`) on loopback, whose people a test makes and takes
 * away by `PUT /people/<sub>` with their claims, or null. Who logs in is said by `PUT /next`, as somebody's `sub`, or null for "cancelled".
 */

import { createServer } from "node:http";

import Provider from "oidc-provider";

const [port, ...redirectUris] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const people = new Map();
let next = null;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "thinkaloud",
      client_secret: "the client's secret, of tests",
      redirect_uris: redirectUris,
      post_logout_redirect_uris: redirectUris.map((uri) => new URL("/accounts/login/", uri).href),
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
    },
  ],
  claims: { openid: ["sub", "groups"], email: ["email", "email_verified"], profile: ["name", "preferred_username"] },
  features: { devInteractions: { enabled: false }, revocation: { enabled: true } },
  cookies: { keys: ["cookies of tests"] },
  pkce: { required: () => true },
  issueRefreshToken: async (_context, client) => client.grantTypeAllowed("refresh_token"),
  interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_context, sub) =>
    people.has(sub) ? { accountId: sub, claims: async () => ({ sub, ...people.get(sub) }) } : undefined,
  async loadExistingGrant(context) {
    const { Grant } = context.oidc.provider;
    const grant = new Grant({ clientId: context.oidc.client.clientId, accountId: context.oidc.session.accountId });
    grant.addOIDCScope("openid profile email offline_access");
    await grant.save();
    return grant;
  },
  ttl: { AccessToken: 60, AuthorizationCode: 60, Grant: 600, IdToken: 60, Interaction: 60, RefreshToken: 600, Session: 600 },
});
const answerProtocol = provider.callback();

async function readJson(request) {
  let text = "";
  for await (const part of request) text += part;
  return JSON.parse(text);
}

createServer(async (request, response) => {
  const path = new URL(request.url, issuer).pathname;
  if (request.method === "PUT" && path === "/next") {
    next = await readJson(request);
    response.end();
  } else if (request.method === "PUT" && path.startsWith("/people/")) {
    const claims = await readJson(request);
    const sub = decodeURIComponent(path.slice("/people/".length));
    if (claims === null) people.delete(sub);
    else people.set(sub, claims);
    response.end();
  } else if (path.startsWith("/interaction/")) {
    const result = next === null ? { error: "access_denied" } : { login: { accountId: next } };
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  } else {
    answerProtocol(request, response);
  }
}).listen(Number(port), "127.0.0.1", () => console.log("ready"));

// A certified OpenID Connect provider for the tests. Its settings come as one line of JSON on standard
// input; it prints its address and runs until standard input ends. Each further line changes something,
// and is answered with what the token endpoint has done so far.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

import Provider, { interactionPolicy } from 'oidc-provider';

// What the package thinks of settings is not for whoever reads our answers.
console.info = console.error;

const lines = createInterface({ input: process.stdin });
const said = lines[Symbol.asyncIterator]();
const settings = JSON.parse((await said.next()).value);
process.stdin.on('end', () => process.exit(0));

const server = createServer();
await new Promise((done) => server.listen(settings.port, '127.0.0.1', done));
const issuer = `http://127.0.0.1:${server.address().port}`;

// With a file, what was given out outlives the process, as it does at any provider.
const { file } = settings;
const kept = new Map(file && existsSync(file) ? JSON.parse(readFileSync(file)) : []);
const keep = () => file && writeFileSync(file, JSON.stringify([...kept]));

class Adapter {
  constructor(model) {
    this.key = (id) => `${model}:${id}`;
  }

  async upsert(id, payload) {
    kept.set(this.key(id), payload);
    keep();
  }

  async find(id) {
    return structuredClone(kept.get(this.key(id)));
  }

  async findByUid(uid) {
    const found = [...kept].find(([key, payload]) => key.startsWith(this.key('')) && payload.uid === uid);
    return structuredClone(found?.[1]);
  }

  async consume(id) {
    kept.get(this.key(id)).consumed = Math.floor(Date.now() / 1000);
    keep();
  }

  async destroy(id) {
    kept.delete(this.key(id));
    keep();
  }

  async revokeByGrantId(grantId) {
    for (const [key, payload] of kept) if (payload.grantId === grantId) kept.delete(key);
    keep();
  }
}

let { people, lifetime } = settings;
const refreshing = {
  issueRefreshToken: async (_, client) => client.grantTypeAllowed('refresh_token'),
  expiresWithSession: async () => false,
  rotateRefreshToken: true,
  ttl: { AccessToken: () => lifetime },
};
// Whoever is asked for a stronger login than they have made logs in again; some have nothing stronger.
const policy = interactionPolicy.base();
policy.get('login').checks.add(
  new interactionPolicy.Check('acr', 'a stronger login is asked for', ({ oidc }) => {
    const asked = oidc.params.acr_values?.split(' ') ?? [];
    return asked.length > 0 && !asked.includes(oidc.acr) && !oidc.result?.login;
  }),
);
const provider = new Provider(issuer, {
  clients: settings.clients,
  jwks: { keys: settings.keys },
  cookies: { keys: ['only for tests'] },
  adapter: Adapter,
  ...(lifetime && refreshing),
  claims: {
    openid: ['sub'],
    profile: ['name', 'preferred_username'],
    email: ['email', 'email_verified'],
    groups: ['groups'],
  },
  acrValues: ['urn:example:mfa'],
  interactions: { policy },
  features: { backchannelLogout: { enabled: true }, revocation: { enabled: true } },
  // It would not call this machine otherwise, where its clients are.
  fetch: (url, { method, headers, body, redirect, signal }) =>
    globalThis.fetch(url, { method, headers, body, redirect, signal }),
  async findAccount(_, id) {
    return people[id] && { accountId: id, claims: async () => ({ sub: id, ...people[id] }) };
  },
});
const done = {};
provider.on('grant.success', ({ oidc }) => {
  const name = oidc.params.grant_type;
  done[name] = (done[name] ?? 0) + 1;
});
provider.on('grant.error', () => {
  done.refused = (done.refused ?? 0) + 1;
});
const finish = provider.interactionFinished.bind(provider);
provider.interactionFinished = async (request, response, result, options) => {
  const { params } = await provider.interactionDetails(request, response);
  const strong = result.login && people[result.login.accountId]?.factor;
  if (strong && params.acr_values?.split(' ').includes(strong)) result.login.acr = strong;
  await finish(request, response, result, options);
};
server.on('request', provider.callback());
console.log(JSON.stringify({ issuer }));

for await (const line of { [Symbol.asyncIterator]: () => said }) {
  const told = JSON.parse(line);
  people = told.people ?? people;
  lifetime = told.lifetime ?? lifetime;
  if (told.forget) for (const key of [...kept.keys()]) if (key.startsWith(`${told.forget}:`)) kept.delete(key);
  keep();
  console.log(JSON.stringify(done));
}

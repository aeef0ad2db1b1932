// A certified OpenID Connect provider for the tests. Its settings come as one line of JSON on standard
// input; it prints its port and runs until standard input ends.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

import Provider from 'oidc-provider';

const lines = createInterface({ input: process.stdin });
const settings = JSON.parse((await lines[Symbol.asyncIterator]().next()).value);
process.stdin.on('end', () => process.exit(0));

const server = createServer();
await new Promise((done) => server.listen(settings.port, '127.0.0.1', done));
const issuer = `http://127.0.0.1:${server.address().port}`;

const people = settings.people;
const provider = new Provider(issuer, {
  clients: settings.clients,
  jwks: { keys: settings.keys },
  cookies: { keys: ['only for tests'] },
  claims: {
    openid: ['sub'],
    profile: ['name', 'preferred_username'],
    email: ['email', 'email_verified'],
    groups: ['groups'],
  },
  features: { backchannelLogout: { enabled: true }, revocation: { enabled: true } },
  // It would not call this machine otherwise, where its clients are.
  fetch: (url, { method, headers, body, redirect, signal }) =>
    globalThis.fetch(url, { method, headers, body, redirect, signal }),
  async findAccount(_, id) {
    return people[id] && { accountId: id, claims: async () => ({ sub: id, ...people[id] }) };
  },
});
server.on('request', provider.callback());
console.log(JSON.stringify({ issuer }));

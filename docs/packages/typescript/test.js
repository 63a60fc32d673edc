/** The tests of the package: npm test. */
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import test from 'node:test';

import { NotGenuine, webhookEvents, webhookIsGenuine } from './index.js';

const secret = `whsec_${crypto.randomBytes(32).toString('base64')}`;
const body = Buffer.from('{"id": "evt_1", "event": "invoice.paid"}');

function signed(secret, body, late = 0) {
  const time = String(Math.floor(Date.now() / 1000) - late);
  const key = Buffer.from(secret.slice(secret.indexOf('_') + 1), 'base64');
  const value = crypto.createHmac('sha256', key).update(`evt_1.${time}.`).update(body).digest('base64');
  return { 'webhook-id': 'evt_1', 'webhook-timestamp': time, 'webhook-signature': `v2,x v1,${value}` };
}

test('a genuine request is accepted, a changed one is not', () => {
  const headers = signed(secret, body);
  assert.equal(webhookIsGenuine(headers, body, secret), true);
  assert.equal(webhookIsGenuine(headers, new Uint8Array(body), secret), true);
  assert.equal(webhookIsGenuine(headers, Buffer.concat([body, Buffer.from(' ')]), secret), false);
  assert.equal(webhookIsGenuine({ ...headers, 'webhook-id': 'evt_2' }, body, secret), false);
  assert.equal(webhookIsGenuine({}, body, secret), false);
});

test('the age is bounded by the tolerance', () => {
  assert.equal(webhookIsGenuine(signed(secret, body, 310), body, secret), false);
  assert.equal(webhookIsGenuine(signed(secret, body, -310), body, secret), false);
  assert.equal(webhookIsGenuine(signed(secret, body, 310), body, secret, 900), true);
  assert.equal(webhookIsGenuine(signed(secret, body, 200), body, secret, 60), false);
});

test('an empty secret accepts nothing', () => {
  for (const empty of ['', 'whsec_', 'whpk_', 'whsec', 'whsec_AAAA', 'whsec_====']) {
    assert.equal(webhookIsGenuine(signed(empty, body), body, empty), false, empty);
  }
});

test('a signature v1a is verified with the public key', () => {
  const { publicKey, privateKey } = crypto.generateKeyPairSync('ed25519');
  const time = String(Math.floor(Date.now() / 1000));
  const value = crypto.sign(null, Buffer.concat([Buffer.from(`evt_1.${time}.`), body]), privateKey).toString('base64');
  const headers = { 'webhook-id': 'evt_1', 'webhook-timestamp': time, 'webhook-signature': `v1a,${value}` };
  const key = `whpk_${Buffer.from(publicKey.export({ format: 'jwk' }).x, 'base64url').toString('base64')}`;
  assert.equal(webhookIsGenuine(headers, body, key), true);
  assert.equal(webhookIsGenuine(headers, Buffer.from('{}'), key), false);
});

test('events are those of the request, one or a batch', () => {
  assert.deepEqual(webhookEvents(signed(secret, body), body, secret), [{ id: 'evt_1', event: 'invoice.paid' }]);
  const batch = Buffer.from('[{"id": "evt_1"}, {"id": "evt_2"}]');
  assert.deepEqual(webhookEvents(signed(secret, batch), batch, secret).map(({ id }) => id), ['evt_1', 'evt_2']);
  assert.throws(() => webhookEvents(signed('', body), body, ''), NotGenuine);
});

const crypto = require('crypto');

const { headers } = $input.first().json;
const body = await this.helpers.getBinaryDataBuffer(0, 'data');
const secret = $vars.WEBHOOK_SECRET ?? $env.WEBHOOK_SECRET ?? '';

const time = headers['webhook-timestamp'] ?? '';
const signed = Buffer.concat([Buffer.from(`${headers['webhook-id']}.${time}.`), body]);
const key = Buffer.from(secret.replace('whsec_', ''), 'base64');
const expected = Buffer.from('v1,' + crypto.createHmac('sha256', key).update(signed).digest('base64'));
const genuine = (headers['webhook-signature'] ?? '').split(' ').map((given) => Buffer.from(given))
  .some((given) => given.length === expected.length && crypto.timingSafeEqual(given, expected));

if (key.length < 24 || !genuine || !(Math.abs(Date.now() / 1000 - Number(time)) <= 300)) {
  throw new Error('This webhook is not genuine.');
}
return [{ json: JSON.parse(body.toString('utf8')) }];

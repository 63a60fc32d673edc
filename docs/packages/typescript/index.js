import crypto from 'node:crypto';

export class NotGenuine extends Error {}

/** The function of docs/signing.md. */
export function webhookIsGenuine(headers, body, secret, tolerance = 300) {
  const time = headers['webhook-timestamp'] ?? '';
  if (!/^[0-9]{1,12}$/.test(time) || Math.abs(Date.now() / 1000 - Number(time)) > tolerance) return false;
  const signed = Buffer.concat([Buffer.from(`${headers['webhook-id']}.${time}.`), body]);
  const key = Buffer.from(secret.slice(secret.indexOf('_') + 1), 'base64');
  if (key.length < 24) return false; // no secret: anybody can sign with an empty key
  return (headers['webhook-signature'] ?? '').split(' ').some((signature) => {
    const [scheme, value = ''] = signature.split(',');
    const given = Buffer.from(value, 'base64');
    if (scheme === 'v1' && secret.startsWith('whsec_')) {
      const expected = crypto.createHmac('sha256', key).update(signed).digest();
      return given.length === expected.length && crypto.timingSafeEqual(given, expected);
    }
    if (scheme === 'v1a' && secret.startsWith('whpk_')) {
      const jwk = { kty: 'OKP', crv: 'Ed25519', x: key.toString('base64url') };
      return crypto.verify(null, signed, crypto.createPublicKey({ key: jwk, format: 'jwk' }), given);
    }
    return false;
  });
}

export function webhookEvents(headers, body, secret, tolerance = 300) {
  if (!webhookIsGenuine(headers, body, secret, tolerance)) {
    throw new NotGenuine('The request is not genuine, or the secret is not set.');
  }
  const content = JSON.parse(Buffer.from(body).toString('utf8'));
  return Array.isArray(content) ? content : [content];
}

/**
 * A receiver of webhooks in Node, with the package ../packages/typescript: signature, each event once, the newest wins.
 *
 *   WEBHOOK_SECRET=whsec_… RECEIVER_FOLDER=/var/lib/receiver node receiver.mjs 8700
 *
 * With a database of yours, `seen` and `newest` are tables in it, and handle() is one transaction.
 */
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';

import { NotGenuine, webhookEvents } from '../packages/typescript/index.js'; // or from 'facturascripts-cdc-receiver'

const { WEBHOOK_SECRET: secret = '', RECEIVER_FOLDER: folder } = process.env;
for (const name of ['seen', 'newest']) mkdirSync(`${folder}/${name}`, { recursive: true, mode: 0o700 });

const named = (text) => createHash('sha1').update(text).digest('hex');

/** Once for each event, whatever is sent again: it is marked as seen when its work is done. */
function handle(event) {
  if (event.test) return; // sent by `cdc endpoint test` or the page: no record was changed
  const seen = `${folder}/seen/${named(event.id)}`;
  if (existsSync(seen)) return; // it was handled before
  const record = JSON.stringify([event.source, event.event.split('.')[0], event.key]);
  const newest = `${folder}/newest/${named(record)}`;
  if (!existsSync(newest) || event.timestamp >= readFileSync(newest, 'utf8')) {
    work(event);
    writeFileSync(newest, event.timestamp);
  } // else: a replay of something older than what is known
  writeFileSync(seen, '');
}

/** What you do about it. A crash before the event is marked has it done again: let twice be as good as once. */
function work(event) {
  appendFileSync(`${folder}/handled`, `${event.id} ${event.event}\n`);
}

createServer(async (request, response) => {
  try {
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = Buffer.concat(parts); // the bytes as they came
    for (const event of webhookEvents(request.headers, body, secret)) handle(event); // a batch has several
    response.writeHead(204).end(); // only now
  } catch (error) {
    if (!(error instanceof NotGenuine)) console.error(error);
    response.writeHead(error instanceof NotGenuine ? 401 : 500).end(); // after 500 it is sent again
  }
}).listen(Number(process.argv[2]), '127.0.0.1');

<?php
/**
 * A receiver of webhooks in PHP, with the package ../packages/php: signature, each event once, the newest wins.
 *
 *   WEBHOOK_SECRET=whsec_… RECEIVER_FOLDER=/var/lib/receiver php -S 127.0.0.1:8700 receiver.php
 *
 * With a database of yours, the ids that were handled and `newest` are tables in it, in the transaction of your work.
 */
declare(strict_types=1);

use FacturaScriptsCdc\Receiver\Event;
use FacturaScriptsCdc\Receiver\NotGenuine;
use FacturaScriptsCdc\Receiver\Once;
use FacturaScriptsCdc\Receiver\Webhook;

require __DIR__ . '/../packages/php/autoload.php'; // with composer: vendor/autoload.php

$folder = (string) getenv('RECEIVER_FOLDER');

/** A replay of something older than what is known of its record changes nothing. */
function newest(Event $event, string $folder): void
{
    $record = json_encode([$event->source, strtok($event->name, '.'), $event->key]);
    $newest = $folder . '/newest/' . sha1($record);
    if (!file_exists($newest) || $event->timestamp >= file_get_contents($newest)) {
        work($event, $folder);
        file_put_contents($newest, $event->timestamp);
    }
}

/** What you do about it. After a crash it is done again: let it be such that twice is as good as once. */
function work(Event $event, string $folder): void
{
    file_put_contents($folder . '/handled', $event->id . ' ' . $event->name . "\n", FILE_APPEND);
}

try {
    $body = (string) file_get_contents('php://input'); // the bytes as they came
    $events = Webhook::events(Webhook::headers(), $body, (string) getenv('WEBHOOK_SECRET'));
} catch (NotGenuine) {
    http_response_code(401);
    exit;
}
is_dir("$folder/newest") || mkdir("$folder/newest", 0700, true);
$once = new Once("$folder/seen");
foreach ($events as $event) { // a batch has several
    $once->handle($event, static fn (Event $event) => newest($event, $folder));
}
http_response_code(204); // only now: whatever failed before is answered 500, and sent again

<?php
/**
 * A receiver of webhooks in PHP, without a library: signature, each event once, the newest wins.
 *
 *   WEBHOOK_SECRET=whsec_… RECEIVER_FOLDER=/var/lib/receiver php -S 127.0.0.1:8700 receiver.php
 *
 * With a database of yours, `seen` and `newest` are tables in it, and handle() is one transaction.
 */
declare(strict_types=1);

$secret = (string) getenv('WEBHOOK_SECRET');
$folder = getenv('RECEIVER_FOLDER');

function is_genuine(string $body, string $secret): bool
{
    $sent = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    if (!preg_match('/^[0-9]{1,12}$/D', $sent) || abs(time() - (int) $sent) > 300) {
        return false;
    }
    $key = base64_decode(substr($secret, strlen('whsec_')));
    if (strlen($key) < 24) {
        return false; // no secret: anybody can sign with an empty key
    }
    $signed = ($_SERVER['HTTP_WEBHOOK_ID'] ?? '') . '.' . $sent . '.' . $body;
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', $signed, $key, true));
    foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $given) {
        if (hash_equals($expected, $given)) {
            return true;
        }
    }
    return false;
}

/** Once for each event, whatever is sent again: it is marked as seen when its work is done. */
function handle(array $event, string $folder): void
{
    if ($event['test'] ?? false) {
        return; // sent by `cdc endpoint test` or the page: no record was changed
    }
    $seen = $folder . '/seen/' . sha1($event['id']);
    if (file_exists($seen)) {
        return; // it was handled before
    }
    $record = json_encode([$event['source'], strtok($event['event'], '.'), $event['key']]);
    $newest = $folder . '/newest/' . sha1($record);
    if (!file_exists($newest) || $event['timestamp'] >= file_get_contents($newest)) {
        work($event, $folder);
        file_put_contents($newest, $event['timestamp']);
    } // else: a replay of something older than what is known
    touch($seen);
}

/** What you do about it. A crash before touch() above has it done again: let it be such that twice is as good as once. */
function work(array $event, string $folder): void
{
    file_put_contents($folder . '/handled', $event['id'] . ' ' . $event['event'] . "\n", FILE_APPEND);
}

$body = file_get_contents('php://input'); // the bytes as they came
if (!is_genuine($body, $secret)) {
    http_response_code(401);
    exit;
}
foreach (['seen', 'newest'] as $name) {
    is_dir("$folder/$name") || mkdir("$folder/$name", 0700, true);
}
$lock = fopen($folder . '/lock', 'c');
flock($lock, LOCK_EX); // one after the other
$content = json_decode($body, true, 512, JSON_THROW_ON_ERROR);
foreach (array_is_list($content) ? $content : [$content] as $event) { // a batch is an array
    handle($event, $folder);
}
http_response_code(204); // only now: whatever failed before is answered 500, and sent again

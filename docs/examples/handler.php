<?php
/**
 * Handles an event that `cdc consume` has fetched: each once, the work first.
 *
 *   HANDLER_FOLDER=/var/lib/handler cdc consume orders --exec 'php handler.php'
 *
 * With a database of yours, `seen` is a table in it, and work and mark are one transaction.
 */
declare(strict_types=1);

$folder = getenv('HANDLER_FOLDER') ?: throw new RuntimeException('HANDLER_FOLDER is not set.');
$event = json_decode(stream_get_contents(STDIN), true, 512, JSON_THROW_ON_ERROR);
$seen = $folder . '/seen/' . sha1($event['id']);
if (($event['test'] ?? false) || file_exists($seen)) {
    exit(0); // a test, or handled before: acknowledged
}
is_dir("$folder/seen") || mkdir("$folder/seen", 0700, true);
// What you do about it. An exception ends with another code than 0: the event comes again.
file_put_contents($folder . '/handled', $event['id'] . ' ' . $event['event'] . "\n", FILE_APPEND);
touch($seen);

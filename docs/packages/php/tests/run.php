<?php
/** The tests of the package: php tests/run.php. */
declare(strict_types=1);

use FacturaScriptsCdc\Receiver\Event;
use FacturaScriptsCdc\Receiver\NotGenuine;
use FacturaScriptsCdc\Receiver\Once;
use FacturaScriptsCdc\Receiver\Webhook;

use function FacturaScriptsCdc\Receiver\webhook_is_genuine;

error_reporting(E_ALL);
set_error_handler(static fn (int $level, string $text) => throw new ErrorException($text, 0, $level));
require __DIR__ . '/../autoload.php';

function check(bool $holds, string $what): void
{
    $holds || throw new LogicException("Wrong: $what.");
}

/** @return array<string, string> headers signed with the key that follows from the secret, whatever it is */
function signed(string $secret, string $body, int $late = 0, string $id = 'evt_1'): array
{
    $time = (string) (time() - $late);
    $key = (string) base64_decode(substr($secret, (int) strpos($secret, '_') + 1));
    $value = base64_encode(hash_hmac('sha256', "$id.$time.$body", $key, true));
    return ['webhook-id' => $id, 'webhook-timestamp' => $time, 'webhook-signature' => "v2,x v1,$value"];
}

/** @return array<string, mixed> */
function payload(string $id, bool $test = false): array
{
    $payload = ['id' => $id, 'event' => 'invoice.paid', 'timestamp' => '2026-11-24T21:48:00.123456Z'];
    $payload += ['source' => 'main', 'key' => ['idfactura' => 12], 'data' => ['total' => 423.5], 'transaction' => '7'];
    return $payload + ($test ? ['test' => true] : []);
}

$secret = 'whsec_' . base64_encode(random_bytes(32));
$body = json_encode(payload('evt_1'), JSON_THROW_ON_ERROR);
$headers = signed($secret, $body);

check(webhook_is_genuine($headers, $body, $secret), 'a genuine request is accepted');
check(!webhook_is_genuine($headers, $body . ' ', $secret), 'another body is refused');
check(!webhook_is_genuine(['webhook-id' => 'evt_2'] + $headers, $body, $secret), 'another id is refused');
check(!webhook_is_genuine($headers, $body, 'whsec_' . base64_encode(random_bytes(32))), 'another secret is refused');
check(!webhook_is_genuine([], $body, $secret), 'a request without headers is refused');
check(!webhook_is_genuine(signed($secret, $body, 310), $body, $secret), 'an old request is refused');
check(!webhook_is_genuine(signed($secret, $body, -310), $body, $secret), 'one of the future is refused');
check(webhook_is_genuine(signed($secret, $body, 310), $body, $secret, 900), 'the tolerance can be longer');
check(!webhook_is_genuine(signed($secret, $body, 200), $body, $secret, 60), 'the tolerance can be shorter');
foreach (['', 'whsec_', 'whpk_', 'whsec', 'whsec_AAAA', 'whsec_===='] as $empty) {
    check(!webhook_is_genuine(signed($empty, $body), $body, $empty), "the secret '$empty' accepts nothing");
}
if (extension_loaded('sodium')) {
    $pair = sodium_crypto_sign_keypair();
    $time = (string) time();
    $value = base64_encode(sodium_crypto_sign_detached("evt_1.$time.$body", sodium_crypto_sign_secretkey($pair)));
    $given = ['webhook-id' => 'evt_1', 'webhook-timestamp' => $time, 'webhook-signature' => "v1a,$value"];
    $public = 'whpk_' . base64_encode(sodium_crypto_sign_publickey($pair));
    check(webhook_is_genuine($given, $body, $public), 'a signature v1a is accepted');
    check(!webhook_is_genuine($given, $body . ' ', $public), 'a signature v1a of another body is refused');
}

[$event] = Webhook::events($headers, $body, $secret);
check([$event->id, $event->name, $event->key] === ['evt_1', 'invoice.paid', ['idfactura' => 12]], 'an event is read');
check([$event->data, $event->previous, $event->test] === [['total' => 423.5], [], false], 'its row is read');
check([$event->related, $event->link] === [[], ''], 'an event without related records is read');
$more = ['related' => ['customer' => ['code' => '14']], 'links' => ['record' => 'https://erp.example.com/EditCliente?code=14']];
$shown = Event::of($more + payload('evt_1'));
check([$shown->related, $shown->link] === [$more['related'], $more['links']['record']], 'related records are read');
$batch = json_encode([payload('evt_1'), payload('evt_2')], JSON_THROW_ON_ERROR);
$events = Webhook::events(signed($secret, $batch), $batch, $secret);
check(array_map(static fn (Event $each): string => $each->id, $events) === ['evt_1', 'evt_2'], 'a batch is read');
try {
    Webhook::events($headers, $body . ' ', $secret);
    check(false, 'events of a forged request are refused');
} catch (NotGenuine) {
}
$_SERVER['HTTP_WEBHOOK_ID'] = 'evt_1';
check(Webhook::headers()['webhook-id'] === 'evt_1', 'the headers of the request are found');

$folder = sys_get_temp_dir() . '/receiver-' . bin2hex(random_bytes(8));
$once = new Once($folder);
$done = [];
$work = static function (Event $event) use (&$done): void {
    $done[] = $event->id;
};
try {
    $once->handle($event, static fn () => throw new DomainException('the work fails'));
    check(false, 'a failure is passed on');
} catch (DomainException) {
}
check($once->handle($event, $work) && !$once->handle($event, $work), 'an event is handled once, after a failure too');
check(!$once->handle(Event::of(payload('evt_3', test: true)), $work), 'a test is not handled');
check($done === ['evt_1'], 'the work was done once');
touch($folder . '/' . sha1('evt_1') . '.seen', time() - 3 * 86400);
$once->forget(5);
check(!$once->handle($event, $work), 'a younger id is kept');
$once->forget(2);
check($once->handle($event, $work), 'an older id is forgotten');
array_map(unlink(...), glob($folder . '/*') ?: []);
rmdir($folder);
echo "The tests of the PHP package have passed.\n";

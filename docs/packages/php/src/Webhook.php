<?php

declare(strict_types=1);

namespace FacturaScriptsCdc\Receiver;

/** One request of `cdc run`. */
final class Webhook
{
    /**
     * Returns the headers of the present request, names in lower case, under any web server.
     *
     * @return array<string, string>
     */
    public static function headers(): array
    {
        $headers = [];
        foreach ($_SERVER as $name => $value) {
            if (str_starts_with((string) $name, 'HTTP_')) {
                $headers[strtolower(strtr(substr($name, strlen('HTTP_')), '_', '-'))] = (string) $value;
            }
        }
        return $headers;
    }

    /**
     * Returns the events of a request: one, or those of a batch.
     *
     * @param array<string, string> $headers names in lower case
     * @param string $body the bytes as they arrived
     * @param string $secret whsec_…, or the public key whpk_…
     * @param int $tolerance age in seconds beyond which a request is refused
     * @return list<Event>
     * @throws NotGenuine
     */
    public static function events(array $headers, string $body, string $secret, int $tolerance = 300): array
    {
        if (!webhook_is_genuine($headers, $body, $secret, $tolerance)) {
            throw new NotGenuine('The request is not genuine, or the secret is not set.');
        }
        $content = json_decode($body, true, 512, JSON_THROW_ON_ERROR);
        return array_map(Event::of(...), array_is_list($content) ? $content : [$content]);
    }
}

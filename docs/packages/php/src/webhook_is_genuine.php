<?php

declare(strict_types=1);

namespace FacturaScriptsCdc\Receiver;

/**
 * Returns whether a request was signed with the secret; the function of docs/signing.md.
 *
 * @param array<string, string> $headers names in lower case
 * @param string $body the bytes as they arrived
 * @param string $secret whsec_…, or the public key whpk_…; an empty one accepts nothing
 * @param int $tolerance age in seconds beyond which a request is refused
 */
function webhook_is_genuine(array $headers, string $body, string $secret, int $tolerance = 300): bool
{
    $id = $headers['webhook-id'] ?? '';
    $time = $headers['webhook-timestamp'] ?? '';
    if (!preg_match('/^[0-9]{1,12}$/D', $time) || abs(time() - (int) $time) > $tolerance) {
        return false;
    }
    $key = base64_decode(substr($secret, strpos($secret, '_') + 1));
    if (strlen($key) < 24) {
        return false; // no secret: anybody can sign with an empty key
    }
    foreach (explode(' ', $headers['webhook-signature'] ?? '') as $signature) {
        [$scheme, $value] = explode(',', $signature, 2) + ['', ''];
        $value = (string) base64_decode($value);
        if ($scheme === 'v1' && str_starts_with($secret, 'whsec_')) {
            $genuine = hash_equals(hash_hmac('sha256', "$id.$time.$body", $key, true), $value);
        } elseif ($scheme === 'v1a' && str_starts_with($secret, 'whpk_') && strlen($value) === 64) {
            $genuine = sodium_crypto_sign_verify_detached($value, "$id.$time.$body", $key);
        } else {
            continue;
        }
        if ($genuine) {
            return true;
        }
    }
    return false;
}

// .NET 6 or newer. v1 only: .NET itself has no ed25519; libraries such as NSec and BouncyCastle do.
using System;
using System.Collections.Generic;
using System.Linq;
using System.Security.Cryptography;
using System.Text;

public static class Webhook
{
    public static bool IsGenuine(IReadOnlyDictionary<string, string> headers, byte[] body, string secret)
    {
        string time = headers.GetValueOrDefault("webhook-timestamp", "");
        long now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        if (!long.TryParse(time, out long seconds) || seconds < now - 300 || seconds > now + 300 || !secret.StartsWith("whsec_", StringComparison.Ordinal))
        {
            return false;
        }
        byte[] key = Convert.FromBase64String(secret.Substring("whsec_".Length));
        if (key.Length < 24)
        {
            return false; // no secret: anybody can sign with an empty key
        }
        byte[] start = Encoding.UTF8.GetBytes($"{headers.GetValueOrDefault("webhook-id", "")}.{time}.");
        byte[] expected = Encoding.UTF8.GetBytes("v1," + Convert.ToBase64String(HMACSHA256.HashData(key, start.Concat(body).ToArray())));
        return headers.GetValueOrDefault("webhook-signature", "").Split(' ')
            .Any(given => CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(given), expected));
    }
}

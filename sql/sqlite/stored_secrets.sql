-- The secrets of endpoints that were not removed, as they are stored: sealed or not.
SELECT number, secret, former_secret, headers FROM endpoint WHERE removed_at IS NULL

-- name: insert_user
-- A new user; nothing when the name is taken.
INSERT INTO cdc_outbox.access_user (name_key, name, role, password_hash, totp_secret, stamp, sources, created_at)
VALUES (:name_key, :name, :role, :password_hash, :totp_secret, :stamp, :sources, :created_at)
ON CONFLICT (name_key) DO NOTHING

-- name: update_user
-- What may change of a user.
UPDATE cdc_outbox.access_user
SET role = :role, password_hash = :password_hash, totp_secret = :totp_secret, stamp = :stamp, sources = :sources
WHERE name_key = :name_key

-- name: replace_hash
-- The same password in another hash, unless the password was changed meanwhile.
UPDATE cdc_outbox.access_user SET password_hash = :new WHERE name_key = :name_key AND password_hash = :old

-- name: take_totp_step
-- A later step than any that the owner took; nothing for another.
INSERT INTO cdc_outbox.access_totp_step (owner, step) VALUES (:owner, :step)
ON CONFLICT (owner) DO UPDATE SET step = excluded.step WHERE access_totp_step.step < excluded.step

-- name: insert_setup
-- The link that makes the first user.
INSERT INTO cdc_outbox.access_setup (digest, expires_at) VALUES (:digest, :expires_at)

-- name: take_setup
-- The link is used up; nothing when it is another one or has expired.
DELETE FROM cdc_outbox.access_setup WHERE digest = :digest AND expires_at > :now

-- name: insert_session
-- Somebody signed in.
INSERT INTO cdc_outbox.access_session (digest, user_key, user_name, role, origin, stamp, address, created_at, last_used_at, expires_at, portal)
VALUES (:digest, :user_key, :user_name, :role, :origin, :stamp, :address, :created_at, :last_used_at, :expires_at, :portal)

-- name: take_portal_link
-- The link is used up; nothing when it was, has expired, or is a session.
DELETE FROM cdc_outbox.access_session WHERE digest = :digest AND origin = 'portal-link' AND expires_at > :now

-- name: portal_sessions
-- Links and sessions of a tenant's portal.
SELECT digest, portal FROM cdc_outbox.access_session WHERE user_key = :user_key AND portal IS NOT NULL

-- name: end_portals_of_token
-- Links that a token made, and sessions that they began.
DELETE FROM cdc_outbox.access_session WHERE stamp = :token AND portal IS NOT NULL

-- name: page_session
-- A session, and beside it the user of ours with its name, if any.
SELECT access_session.digest, access_session.user_name, access_session.role, access_session.origin, access_session.stamp,
       access_session.address, access_session.created_at, access_session.last_used_at, access_session.expires_at, access_session.portal,
       access_user.name, access_user.role, access_user.password_hash, access_user.totp_secret, access_user.stamp,
       access_user.sources, access_user.created_at
FROM cdc_outbox.access_session
LEFT JOIN cdc_outbox.access_user ON access_user.name_key = access_session.user_key
WHERE access_session.digest = :digest

-- name: note_session
-- A session was used; written unless somebody else just did.
UPDATE cdc_outbox.access_session SET last_used_at = :now WHERE digest = :digest AND last_used_at <= :noted_before

-- name: insert_token
-- A new token; nothing when its name is taken.
INSERT INTO cdc_outbox.access_token (id, name_key, name, scope, digest, created_at, expires_at, last_used_at, sources, allowed, networks)
VALUES (:id, :name_key, :name, :scope, :digest, :created_at, :expires_at, :last_used_at, :sources, :allowed, :networks)
ON CONFLICT (name_key) DO NOTHING

-- name: tokens
-- All tokens, oldest first.
SELECT id, name, scope, created_at, expires_at, last_used_at, sources, allowed, networks, last_used_from FROM cdc_outbox.access_token ORDER BY created_at, id

-- name: token
-- The token with this digest.
SELECT id, name, scope, created_at, expires_at, last_used_at, sources, allowed, networks, last_used_from FROM cdc_outbox.access_token WHERE digest = :digest

-- name: find_token
-- The token with this id, or whose name has this key.
SELECT id, name, scope, created_at, expires_at, last_used_at, sources, allowed, networks, last_used_from FROM cdc_outbox.access_token
WHERE id = :token OR name_key = :name_key

-- name: note_token
-- A token was used; written unless somebody else just did.
UPDATE cdc_outbox.access_token SET last_used_at = :now, last_used_from = :address
WHERE digest = :digest AND (last_used_at IS NULL OR last_used_at <= :noted_before)

-- name: request
-- What was asked with this idempotency key, and its answer.
SELECT fingerprint, started_at, status, content_type, body, location FROM cdc_outbox.idempotency
WHERE actor = :actor AND request_key = :request_key

-- name: insert_request
-- A request that is being made, in the place of a former one that had expired or died.
INSERT INTO cdc_outbox.idempotency (actor, request_key, fingerprint, started_at) VALUES (:actor, :request_key, :fingerprint, :started_at)
ON CONFLICT (actor, request_key) DO UPDATE
SET fingerprint = excluded.fingerprint, started_at = excluded.started_at, status = NULL, content_type = NULL, body = NULL, location = NULL

-- name: requests_of
-- How many requests an actor has made with idempotency keys, the characters of their answers, and when the first was made.
SELECT count(*), COALESCE(sum(length(body)), 0), min(started_at) AS started_at FROM cdc_outbox.idempotency WHERE actor = :actor

-- name: free_request
-- A request that was claimed and not made.
DELETE FROM cdc_outbox.idempotency
WHERE actor = :actor AND request_key = :request_key AND started_at = :started_at AND status IS NULL

-- name: set_answer
-- The answer of a request, unless somebody else makes it by now.
UPDATE cdc_outbox.idempotency SET status = :status, content_type = :content_type, body = :body, location = :location
WHERE actor = :actor AND request_key = :request_key AND started_at = :started_at AND status IS NULL

-- name: stored_answers
-- Answers that may be sealed.
SELECT actor, request_key, body FROM cdc_outbox.idempotency WHERE body IS NOT NULL

-- name: set_body
-- An answer sealed anew.
UPDATE cdc_outbox.idempotency SET body = :body WHERE actor = :actor AND request_key = :request_key AND body IS NOT NULL

-- name: insert_audit
-- An entry behind the last one; nobody else adds one, so that numbers grow in the order of the commits.
INSERT INTO cdc_outbox.audit (number, recorded_at, actor, action, subject, detail, hash)
VALUES (:number, :recorded_at, :actor, :action, :subject, :detail, :hash)

-- name: audit_chain
-- The marks of the chain, its key, and the number of the last entry.
SELECT name, number, hash, seal FROM cdc_outbox.audit_chain
UNION ALL
SELECT 'last', COALESCE(max(number), 0), '', '' FROM cdc_outbox.audit

-- name: any_audit_hash
SELECT EXISTS (SELECT 1 FROM cdc_outbox.audit WHERE hash <> '')

-- name: set_audit_mark
-- A mark of the chain, or its key.
INSERT INTO cdc_outbox.audit_chain (name, number, hash, seal) VALUES (:name, :number, :hash, :seal)
ON CONFLICT (name) DO UPDATE SET number = excluded.number, hash = excluded.hash, seal = excluded.seal

-- name: users
-- All users, or the one of this key, by name.
SELECT name, role, password_hash, totp_secret, stamp, sources, created_at FROM cdc_outbox.access_user
WHERE :name_key::text IS NULL OR name_key = :name_key
ORDER BY name_key COLLATE "C"

-- name: audit
-- Entries of the audit log, newest first, with the hash of the one before; parameters that are null do not narrow.
SELECT number, recorded_at, actor, action, subject, detail, hash, COALESCE(
    (SELECT hash FROM cdc_outbox.audit AS former WHERE former.number < audit.number AND former.hash <> ''
     ORDER BY former.number DESC LIMIT 1),
    (SELECT hash FROM cdc_outbox.audit_chain WHERE name = 'anchor'), ''
)
FROM cdc_outbox.audit
WHERE (:before::bigint IS NULL OR number < :before)
  AND (:actor::text IS NULL OR actor = :actor)
  AND (:action::text IS NULL OR action = :action)
  AND (:subject::text IS NULL OR subject = :subject)
  AND (:since::timestamptz IS NULL OR recorded_at >= :since)
  AND (:until::timestamptz IS NULL OR recorded_at < :until)
ORDER BY number DESC
LIMIT :limit

-- name: audit_after
-- The same, oldest first.
SELECT number, recorded_at, actor, action, subject, detail, hash, COALESCE(
    (SELECT hash FROM cdc_outbox.audit AS former WHERE former.number < audit.number AND former.hash <> ''
     ORDER BY former.number DESC LIMIT 1),
    (SELECT hash FROM cdc_outbox.audit_chain WHERE name = 'anchor'), ''
)
FROM cdc_outbox.audit
WHERE number > :after
  AND (:actor::text IS NULL OR actor = :actor)
  AND (:action::text IS NULL OR action = :action)
  AND (:subject::text IS NULL OR subject = :subject)
  AND (:since::timestamptz IS NULL OR recorded_at >= :since)
  AND (:until::timestamptz IS NULL OR recorded_at < :until)
ORDER BY number
LIMIT :limit

-- name: remove_user
DELETE FROM cdc_outbox.access_user WHERE name_key = :name_key

-- name: any_user
SELECT EXISTS (SELECT 1 FROM cdc_outbox.access_user)

-- name: end_sessions
DELETE FROM cdc_outbox.access_session WHERE user_key = :user_key

-- name: open_sessions
SELECT count(*) FROM cdc_outbox.access_session WHERE user_key = :user_key AND expires_at > :now

-- name: end_session
DELETE FROM cdc_outbox.access_session WHERE digest = :digest

-- name: forget_sessions
DELETE FROM cdc_outbox.access_session WHERE expires_at <= :now

-- name: forget_setup
DELETE FROM cdc_outbox.access_setup

-- name: remove_token
DELETE FROM cdc_outbox.access_token WHERE id = :id

-- name: forget_requests
DELETE FROM cdc_outbox.idempotency WHERE started_at <= :before

-- name: totp_secrets
SELECT name_key, totp_secret FROM cdc_outbox.access_user

-- name: set_totp_secret
UPDATE cdc_outbox.access_user SET totp_secret = :secret WHERE name_key = :name_key

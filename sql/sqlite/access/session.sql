-- A session, and beside it the user of ours with its name, if any.
SELECT access_session.digest, access_session.user_name, access_session.role, access_session.origin, access_session.stamp,
       access_session.address, access_session.created_at, access_session.last_used_at, access_session.expires_at,
       access_user.name, access_user.role, access_user.password_hash, access_user.totp_secret, access_user.stamp,
       access_user.created_at
FROM access_session
LEFT JOIN access_user ON access_user.name_key = access_session.user_key
WHERE access_session.digest = :digest

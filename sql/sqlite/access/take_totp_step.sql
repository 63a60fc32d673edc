-- A later step than any that the owner took; nothing for another.
INSERT INTO access_totp_step (owner, step) VALUES (:owner, :step)
ON CONFLICT (owner) DO UPDATE SET step = excluded.step WHERE access_totp_step.step < excluded.step

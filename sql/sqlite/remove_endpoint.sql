-- The row stays for the log; its secrets go.
UPDATE endpoint SET removed_at = ?, enabled = 0, secret = '', former_secret = NULL, headers = '[]' WHERE number = ?

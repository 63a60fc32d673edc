-- Stops leasing for an endpoint and says why; one that is disabled already keeps its reason.
UPDATE endpoint SET enabled = 0, disabled_reason = ? WHERE number = ? AND enabled

-- An endpoint that was not removed, kept from changes by others: its number, and whether it is enabled.
SELECT number, enabled FROM cdc_outbox.endpoint WHERE id = %(id)s AND removed_at IS NULL FOR UPDATE

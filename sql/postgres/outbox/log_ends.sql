-- The sequences of the oldest and of the newest event; of an empty log one and zero.
SELECT COALESCE((SELECT min(sequence) FROM cdc_outbox.event), 1),
       COALESCE((SELECT max(sequence) FROM cdc_outbox.event), 0)

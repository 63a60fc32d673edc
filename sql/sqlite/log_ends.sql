-- The sequences of the oldest and of the newest event; of an empty log one and zero.
SELECT COALESCE((SELECT MIN(sequence) FROM event), 1), COALESCE((SELECT MAX(sequence) FROM event), 0)

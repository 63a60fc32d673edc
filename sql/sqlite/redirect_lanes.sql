-- Lanes that were merged into a lane follow it when it is merged in its turn.
UPDATE lane_alias SET root = :into WHERE root = :lane

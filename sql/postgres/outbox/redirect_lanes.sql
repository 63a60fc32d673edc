-- Lanes that were merged into a lane follow it when it is merged in its turn.
UPDATE cdc_outbox.lane_alias SET root = %(into)s WHERE root = %(lane)s

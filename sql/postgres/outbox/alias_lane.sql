-- From now on deliveries of a lane join another one.
INSERT INTO cdc_outbox.lane_alias (lane, root) VALUES (%(lane)s, %(into)s)

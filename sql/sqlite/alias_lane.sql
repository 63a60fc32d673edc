-- From now on deliveries of a lane join another one.
INSERT INTO lane_alias (lane, root) VALUES (:lane, :into)

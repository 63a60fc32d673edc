-- The lane that a lane was merged into, if it was.
SELECT root FROM cdc_outbox.lane_alias WHERE lane = %(lane)s

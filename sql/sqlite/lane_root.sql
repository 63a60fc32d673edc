-- The lane that a lane was merged into, if it was.
SELECT root FROM lane_alias WHERE lane = ?

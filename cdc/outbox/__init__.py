"""Events, deliveries, attempts, source positions: the Protocol (``base``) and a module per subject."""

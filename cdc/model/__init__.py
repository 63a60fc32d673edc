"""Types that the stages share: row changes, events, deliveries, endpoints, errors.  No I/O."""

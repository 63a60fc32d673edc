"""Capture by triggers: whole transactions read from the journal, the same for every engine."""

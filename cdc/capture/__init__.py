"""Reads whole transactions: the Protocol (``base``), large transactions (``spool``), look-ups per engine."""

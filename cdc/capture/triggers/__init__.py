"""Installs triggers and journal: inspect → plan → SQL text → apply; repairs, the doctor's checks, grants."""

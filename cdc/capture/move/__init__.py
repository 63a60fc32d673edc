"""Moves from one capture mode to another while the ERP writes."""

"""Shared by installers and readers of an engine: connections, column types, names of the journal."""

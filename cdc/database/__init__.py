"""What the installer and the source share about an engine: connections, column types, and the journal's own names."""

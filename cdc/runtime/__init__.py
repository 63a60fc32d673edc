"""The one place that chooses implementations: which installer, source, outbox and sender a configuration means.

Drivers are imported where they are chosen, and there is nothing here that imports all modules: so a command loads only
what it needs.
"""

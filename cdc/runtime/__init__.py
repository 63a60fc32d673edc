"""The consumer process: chooses implementations, supervises components, reloads the configuration, serves the page.

Drivers are imported where they are chosen, and there is nothing here that imports all modules: so a command loads only
what it needs.
"""

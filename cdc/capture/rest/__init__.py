"""FacturaScripts' API: ``client`` → ``reader`` → ``comparison`` with stored rows → ``difference`` → ``source``."""

"""The log of MariaDB and MySQL: ``connection`` → ``stream`` → ``layout``, ``rows`` → ``chunk`` → ``source``."""

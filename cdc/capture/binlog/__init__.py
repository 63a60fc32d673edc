"""The log of MariaDB and MySQL: ``connection`` → ``stream`` → ``log_reader``, ``layout`` → ``chunk`` → ``source``."""

"""The tables of FacturaScripts itself, as data."""

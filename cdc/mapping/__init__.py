"""Transaction in, named events out, by the rules of ``catalogue.toml``.  Pure."""

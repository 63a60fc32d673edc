"""The use cases of API, page and command line, each once: validate, store with the audit entry in one transaction."""

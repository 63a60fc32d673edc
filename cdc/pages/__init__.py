"""The management page: server-rendered, in Spanish and English, with nothing from any other server."""

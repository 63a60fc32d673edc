"""The HTTP API under ``/api/v1``: operations → one handler each; its OpenAPI description is made from the same list."""

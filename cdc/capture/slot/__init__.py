"""Installs what reading PostgreSQL's log needs: publication, replication slot, replica identities."""

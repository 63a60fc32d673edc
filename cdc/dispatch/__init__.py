"""Sends deliveries: lease, choose the next, limit, sign, send, judge, record, disable failing endpoints."""

"""Limits of waits in tests."""

from __future__ import annotations

#: Ends a wait that would not end, so that the test fails at that place.  It says nothing about speed: a machine that is
#: ten times overloaded must not reach it.
HANG_SECONDS = 120.0

"""The filter language: a parser, limits on the parsed tree, and an evaluation that counts its steps.

The language is the Common Expression Language (CEL, https://cel.dev) without protocol buffers.  It is evaluated here
and not by a native library because a native evaluation cannot be interrupted: it would hold the event loop, and use the
memory, that the text of a filter makes it take.
"""

"""facturascripts-cdc: signed webhooks from the row changes of a FacturaScripts database.

A row change goes one way: ``source`` → ``mapping`` → ``outbox`` → ``dispatch``.  ``relay`` drives the first three,
``service`` chooses the implementations, ``cli`` is what people type.  `docs/architecture.md` draws it.
"""

__version__ = "0.2.0"

"""Annealers and losses in other people's loops, one module for each other library.

`lightning` and `transformers` need the extra `textvae[interop]`; nothing is imported before it is
used. docs/your-own-loop.md shows all of them at work.
"""

"""Annealers and losses in other people's loops, one module for each other library.

`lightning` and `transformers` need the extra `textvae[interop]`. See docs/your-own-loop.md.
"""

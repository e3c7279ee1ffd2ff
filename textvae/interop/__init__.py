"""Annealers and losses in other people's loops, one module for each other library.

`vae_annealing` stands in for the package of that name, `lightning` has a callback for PyTorch
Lightning, `transformers` one for the Trainer of Hugging Face. The last two need the extra
`textvae[interop]`, and nothing here is imported before it is used.
"""

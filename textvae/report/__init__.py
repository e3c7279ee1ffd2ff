"""What a person reads: tables and bars for the terminal, pictures, pages.

Everything here returns text or writes the file it is given; printing is the caller's.
"""

from textvae.report.text import closing, evaluation, examples, kl_bars, run_heading, table

__all__ = ["closing", "evaluation", "examples", "kl_bars", "run_heading", "table"]

"""What a person reads: tables and bars for the terminal, pictures, pages.

Everything here returns text or writes the file it is given. No model is run, and no torch loaded.
"""

from textvae.report.page import check_page, write_comparison, write_page, write_search
from textvae.report.text import (
    closing,
    comparison_text,
    diagnosis_text,
    evaluation,
    quality_text,
    run_heading,
)

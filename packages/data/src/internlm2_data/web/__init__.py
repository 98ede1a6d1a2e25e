"""Format: from pages and records to typed documents.

Item ─► decode (charset) ─► main text (Trafilatura or Resiliparse) ─► language (CLD2) ─► Document with a
content-addressed id
"""

from internlm2_data.web.extract import Extractor, Resiliparse, Trafilatura, extractor
from internlm2_data.web.formatting import Format

__all__ = ["Extractor", "Format", "Resiliparse", "Trafilatura", "extractor"]

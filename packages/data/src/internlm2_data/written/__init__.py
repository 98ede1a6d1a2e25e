"""Text written by rule: what the miniature learns on top of text that people wrote."""

"""Any machine that a file describes: so many of each quantity, at a price each."""

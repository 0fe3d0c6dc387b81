"""The page: everything that is known of a trace, in one HTML file."""

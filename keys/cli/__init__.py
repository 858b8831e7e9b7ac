"""The officers' command line."""

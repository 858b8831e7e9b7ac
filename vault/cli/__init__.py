"""The idvault command line, a file per noun."""

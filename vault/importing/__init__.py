"""The client of `/v1/imports`: reads a file, sends its rows in chunks, goes on where it was cut off."""

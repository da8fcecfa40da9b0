"""The circuit file: its schema, how it is read, written and compared."""

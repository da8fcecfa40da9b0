"""The measures of an audit, one file for each group of lines."""

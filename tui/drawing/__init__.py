"""What every pane draws with: lines, charts, styles and numbers as text."""

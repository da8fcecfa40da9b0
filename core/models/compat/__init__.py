"""What this program works around in other libraries, each with its upstream issue."""

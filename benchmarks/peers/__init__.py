"""The other ways to build it that the yardstick measures Eventline against."""

"""The roofline of a trace: what a device needs at least, and what bounds it."""

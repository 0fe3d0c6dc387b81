"""What other tools would say of the same trace, and why."""

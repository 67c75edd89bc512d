"""What is asked and how the chip would lay it out: integers only, all refusals."""

"""What is attached to this computer, and the rig files that it suggests (``hil rig scan``)."""

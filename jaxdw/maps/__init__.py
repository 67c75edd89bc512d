"""Where each element comes from: index maps, built and checked on the host."""

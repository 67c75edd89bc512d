"""The ways to run one launch, and what the host does."""

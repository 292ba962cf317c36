"""What README, CONTRIBUTING and docs show, run."""

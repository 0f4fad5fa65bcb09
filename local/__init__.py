"""What `make up` runs: the emulator, the deployment on it, and `chalice local` in front."""

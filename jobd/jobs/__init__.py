"""What a job is, when it runs, how it runs, and where that is kept."""

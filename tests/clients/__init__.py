"""jobd as other people's 9P clients see it."""

"""What figures of all kinds share."""

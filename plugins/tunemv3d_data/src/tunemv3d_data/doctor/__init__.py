"""Dataset doctor: it looks for what would make training learn something wrong, and says what to do about it."""

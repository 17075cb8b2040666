"""What a run needs, before it starts: memory and time of a step, and what to change where it does not fit."""

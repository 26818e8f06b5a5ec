"""A coarse model of any circuit: the equations of its decks, solved for many sizings at once."""

"""What a deck is made of: its devices, how they are connected, and what decides their sizes."""

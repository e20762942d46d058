"""What a serving process knows of itself: the processes below it, its event loop, several of it on one port."""

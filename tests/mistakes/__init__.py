"""Mistakes of users as data: a command, what is in its folder, and a part of the sentence that it must print."""

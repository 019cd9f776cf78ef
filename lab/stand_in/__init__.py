"""Stand-ins for engines that need GPUs: their own command lines, a real API, words that mean nothing.

Each one reads its options by the flag table of the release, refuses what the real parser refuses, has its ranks find
one another over TCP as the real ones do, and says `stand-in` in every line and every answer. `install` puts the other
modules where no Slipway is, so they import the standard library (of Python 3.10 on) and one another alone.
"""

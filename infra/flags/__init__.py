"""What an engine release takes on its command line: tables of facts, the parsers' rules, and the check of a command."""

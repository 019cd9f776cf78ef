# Completion of `invoke` in fish: commands, options, and the values of options.
complete --command invoke --no-files --arguments '(invoke --complete -- (commandline --cut-at-cursor | string collect) 2>/dev/null)'
complete --command invoke --condition '__fish_seen_subcommand_from lint' --force-files

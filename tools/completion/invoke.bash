# Completion of `invoke` in Bash, and in zsh after `bashcompinit`: commands, options, and the values of options.
_slipway_invoke () {
    local IFS=$' \t\n'
    COMPREPLY=( $(compgen -W "$(invoke --complete -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)" -- "$2") )
}
complete -o default -F _slipway_invoke invoke inv

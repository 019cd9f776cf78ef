"""Whether what lies at a path can be another user's doing, and how files are made where it can't.

A path is trusted where nobody but root and ourselves can put something else there: each folder on it, from `/` on and
through links, belongs to one of us (or to a system account), and others may write to it only where a sticky bit keeps
them from what is not theirs. What is at its end must be ours. On such a path names can't be swapped between two
commands, so that a check and the step after it speak of the same file.
"""

from shlex import quote

from hosts.errors import Unknown

UNTRUSTED = "untrusted "
"""What the line of a probe begins with that says why a path is not trusted."""

FUNCTIONS = r"""
# whether the uid $1 is root, ourselves (who called sudo is as mighty), or one of the users after it
trust_ours() {
  local uid=$1 user; shift
  case $uid in 0|"$EUID") return ;; esac
  [ "$EUID" != 0 ] || [ "$uid" != "${SUDO_UID:-0}" ] || return 0
  for user; do [ "$(id -u -- "$user" 2>/dev/null)" != "$uid" ] || return 0; done
  return 1
}
trust_wanted() { local user text=root; for user in "$(id -un)" "$@"; do
  case " $text " in *" ${user:-root} "*) ;; *) text="$text or $user" ;; esac; done; printf %s "$text"; }
# whether $1 is a group that only we are in: our own of the same name, or root's
trust_group() {
  local gid=$1 line name; shift
  [ "$gid" != 0 ] || return 0
  line=$(getent group "$gid") || return 1
  for name in "$(id -un)" "${SUDO_USER:-root}" "$@"; do
    if [ "${line%%:*}" = "$name" ]; then case ${line##*:} in ''|"$name") return 0 ;; esac; fi
  done
  return 1
}
# PATH USER...: sets `why` to why it is not trusted; "" where it is, or is not there and what leads there is trusted
trust_look() {
  why=
  local path=$1 links=0 least= at rest folder part found n uid gid raw mode here octal fix name wanted last; shift
  while :; do
    at=(/) rest=$path folder=
    while [ -n "$rest" ]; do
      part=${rest%%/*}; rest=${rest#"$part"}; rest=${rest#/}
      case $part in ''|.) ;; *) folder=$folder/$part; at+=("$folder") ;; esac
    done
    mapfile -t found < <(exec stat -c '%u %g %f' -- "${at[@]}" 2>/dev/null)
    for n in "${!found[@]}"; do
      read -r uid gid raw <<<"${found[n]}"; mode=$((16#$raw)) here=${at[n]}
      octal=$(printf %04o $((mode & 07777))) fix="choose another path (storage.path in the fleet file)"
      if ! trust_ours "$uid" "$@"; then
        [ -n "$least" ] || least=$(awk '$1 == "UID_MIN" { least = $2 } END { print least + 0 ? least : 1000 }' \
          /etc/login.defs 2>/dev/null)
        if [ "$n" = $((${#at[@]} - 1)) ] || [ "$uid" -ge "${least:-1000}" ]; then
          name=$(getent passwd "$uid" | cut -d: -f1)
          wanted=$(trust_wanted "$@")
          why="$here is owned by ${name:-uid $uid} (mode $octal), wanted $wanted;"
          why="$why remove it, give it to ${wanted##* }, or $fix"
          return 0
        fi
      fi
      case $((mode >> 12)) in
        10)
          [ $((links += 1)) -le 40 ] || { why="$here leads through more than 40 links; $fix"; return 0; }
          path=$(readlink -- "$here"; printf x); path=${path%?x}
          case $path in /*) ;; *) path=${here%/*}/$path ;; esac
          last=$((${#at[@]} - 1)); path=$path${at[last]#"$here"}
          continue 2 ;;
        4) [ $((mode & 01000)) = 0 ] || continue ;;
      esac
      if [ $((mode & 2)) != 0 ]; then
        why="$here is writable by everybody (mode $octal), who could replace what is there; run chmod o-w, or $fix"
        return 0
      fi
      if [ $((mode & 020)) != 0 ]; then
        case $(ls -ldn -- "$here") in
          ??????????+*) ;;
          *) ! trust_group "$gid" "$@" || continue ;;
        esac
        name=$(getent group "$gid" | cut -d: -f1)
        why="$here is writable by the group ${name:-$gid} (mode $octal), whose members could replace what is there;"
        why="$why run chmod g-w or chmod +t, or $fix"
        return 0
      fi
    done
    return 0
  done
}
# the same, printed
untrusted() { local why; trust_look "$@"; [ -z "$why" ] || echo "$why"; }
trust() { local why; trust_look "$@"; [ -z "$why" ] || { echo "$why"; exit 1; }; }
# PATH USER...: makes the folders of it that are missing; mkdir fails where somebody else was faster
trust_folder() {
  local path=$1 part rest folder=; shift; rest=$path
  trust "$path" "$@"
  while [ -n "$rest" ]; do
    part=${rest%%/*}; rest=${rest#"$part"}; rest=${rest#/}
    [ -n "$part" ] || continue
    folder=$folder/$part; [ -d "$folder" ] || (umask 022; mkdir -- "$folder")
  done
  trust "$path" "$@"
}
# FOLDER: sets `as`, which makes root the folder's owner: nothing there can then lead root to write elsewhere
trust_as() {
  local uid; as=(); uid=$(stat -c %u -- "$1")
  if [ "$EUID" = 0 ] && [ "$uid" != 0 ]; then
    as=(setpriv --reuid "$uid" --regid "$(getent passwd "$uid" | cut -d: -f4)" --init-groups --)
  fi
}
"""
"""Shell functions, defined in every script that goes to a host (`hosts.shell`); what is below calls them."""


def probed(*paths: str, owner: str = "") -> str:
    """Shell for a probe: prints one line and ends it where one of the paths is not trusted.

    `owner` is an account besides root and ourselves that they may belong to.
    """
    return (
        f'for place in {_words(*paths)}; do trust_look "$place" {_words(owner)}\n'
        f'[ -z "$why" ] || {{ echo "{UNTRUSTED}$why"; exit 0; }}; done'
    )


def trusted(*paths: str, owner: str = "") -> str:
    """Shell for a step: fails, saying why, where one of the paths is not trusted."""
    return f'for place in {_words(*paths)}; do trust "$place" {_words(owner)}; done'


def folder(path: str, owner: str = "") -> str:
    """Shell for a step: makes the folders of `path` that are missing, and fails where it is not trusted."""
    return f"trust_folder {_words(path, owner)}"


def refuse(out: str) -> None:
    """Raises Unknown where a probe printed why its path is not trusted."""
    if out.startswith(UNTRUSTED):
        raise Unknown(" ".join(out.removeprefix(UNTRUSTED).split()))


def _words(*words: str) -> str:
    return " ".join(quote(word) for word in words if word)

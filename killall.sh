#!/bin/sh
# killall.sh [--dry-run]: ends every server, master and grader that this checkout has started, and nothing else.
#
# Every one of them was recorded when it was started. A record is compared with what really runs before anything is
# ended, so that a process id which now belongs to something else is left alone. Prints one line for each.
case ${1-} in
'' | --dry-run) ;;
*)
    echo "usage: killall.sh [--dry-run]" >&2
    exit 2
    ;;
esac
here=$(dirname "$0")
exec python3 "$here/master/groups.py" stop "$@"

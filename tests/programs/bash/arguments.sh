printf '%s\n' "$@" "$GREETING"
exit 7

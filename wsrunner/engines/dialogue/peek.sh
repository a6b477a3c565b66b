# Whether the program wants input: what the first process does for that, in bash. bootstrap.sh reads
# these functions where that is asked, and they use what it has: mode, mark, stage, keeper, cgroup, v1, v2, field, look.
#
# It is the first process's to see, as the kernel lets a process look at those below it alone (Yama's
# ptrace_scope). Told is what is so at two looks in a row.

peek() { # looks once, after a pause
  read -r -t "$pause" _ <&"$never"
  look
  if [ "$stage" != run ]; then
    told='' seen='' pause=0.02
  elif is_busy || ! asks; then
    [ -z "$told" ] || printf '%s!running\n' "$mark" >&6
    told='' seen=''
  elif [ "$found" = "$told" ]; then
    pause=0.03
  elif [ "$found" = "$seen" ]; then
    printf '%s!waiting\n' "$mark" >&6
    told=$found
  else
    seen=$found pause=0.008
  fi
}

is_busy() { # whether there was something to do since the last look: then it costs no more than this
  used=0
  if [ -n "$v2" ]; then
    field $cgroup/cpu.stat usage_usec
    used=${found}000
  elif [ -n "$v1" ]; then
    read -r used <"$v1/cpuacct.usage"
  fi
  before=$used_before used_before=$used pause=0.03
  # A look is a fifth of that.
  [ $((used - before)) -gt 2000000 ] || { pause=0.02 && return 1; }
}

asks() { # whether a thread waits for input; sets found to which and how often it has slept
  if [ -n "$asker" ] && wants "$asker"; then
    return
  fi
  for asker in /proc/[0-9]*/task/*; do
    wants "$asker" && return
  done
  asker=''
  return 1
}

wants() { # wants THREAD: whether it waits for input, by the call that it is in (proc(5))
  read -r call a1 a2 a3 a4 a5 _ <"$1/syscall" || return
  process=${1%/task/*}
  case "$call" in
  $read | $readv | $pread) is_stdin "$process" "$((a1))" || return ;;
  $epoll_wait | $epoll_pwait)
    is_long "$a4" && listens "$process" "$((a1))" || return ;;
  $poll) [ "$a2" = 0x1 ] && is_long "$a3" && has_but_stdin "$process" || return ;;
  $ppoll) [ "$a2$a3" = 0x10x0 ] && has_but_stdin "$process" || return ;;
  # Of one descriptor at most, which is 0, for reading, without a limit of time.
  $select | $pselect) [ "$a1$a5" = 0x10x0 ] && [ "$a2" != 0x0 ] && is_stdin "$process" 0 || return ;;
  *) return 1 ;;
  esac
  read -r _ _ slept <"$1/schedstat" && found="$1 $slept"
}

is_long() { # is_long MS: whether it waits for long, or for ever; runtimes have timers of their own
  ms=$((0x${1#0x} & 0xffffffff))
  [ $ms -ge 500 ]
}

has_but_stdin() { # has_but_stdin PROCESS: whether stdin is all it can be reading from
  is_stdin "$1" 0 || return
  for fd in "$1/fd/"*; do
    case $fd in */0 | */1 | */2) continue ;; esac
    # A file never lets anybody wait.
    [ -f "$fd" ] || is_stdin "$1" "${fd##*/}" || return
  done
}

is_stdin() { # is_stdin PROCESS DESCRIPTOR
  [ "$1/fd/$2" -ef "/proc/$keeper/fd/3" ] || { [ "$mode" = tty ] && [ "$1/fd/$2" -ef /dev/tty ]; }
}

listens() { # listens PROCESS DESCRIPTOR: whether that is an epoll with input among what it waits for
  while read -r key target _ events _; do
    case $key in tfd:) ;; *) continue ;; esac
    [ $((0x$events & 1)) = 1 ] && is_stdin "$1" "$target" && return
  done <"$1/fdinfo/$2"
  return 1
}

can_peek() { # sets what peek needs; false where it can't be known
  # Elsewhere /proc is a whole machine's.
  [ $$ = 1 ] || [ -n "$space" ] || return
  select='' poll='' epoll_wait=''
  case $HOSTTYPE in # syscall(2)'s table: asm/unistd_64.h, asm-generic/unistd.h
  x86_64)
    read=0 readv=19 pread=17 poll=7 ppoll=271 select=23 pselect=270 epoll_wait=232 epoll_pwait=281 ;;
  aarch64) read=63 readv=65 pread=67 ppoll=73 pselect=72 epoll_pwait=22 ;;
  *) return 1 ;;
  esac
  read -r call _ <"/proc/$keeper/syscall" && read -r _ _ slept <"/proc/$keeper/schedstat" || return
  [ -n "$slept" ] || return
  pause=0.02 told='' seen='' asker='' used_before=0
  trap '' TTOU # on a terminal it may not be in the foreground
  eval 'exec {never}<> <(:)'
}

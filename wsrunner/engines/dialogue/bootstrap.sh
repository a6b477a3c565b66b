# The first process of every container: waits for one request, runs its stages, reports how each ended.
#
# Run by bash where the image has it (all glot images do), else by sh, as `… -c BOOTSTRAP wsrunner MODE`
# with MODE `pipes` or `tty`; needs head, mkdir, rm and sleep besides. In bash a stage gets a process
# group of its own by job control; elsewhere setsid does it, where there is one.
#
# Request on stdin:  MARK BYTES\n, padded to 45 bytes, then BYTES bytes of shell that set wall_s and
#                    cpu_s and call the functions below; what follows on stdin belongs to `put`, then
#                    to the program.
# Report of a stage: MARK on stdout, and on stderr (with a terminal on its one stream, once)
#                    MARK STAGE STATUS ENDED CPU_NS PEAK_BYTES OOM_KILLS\n
#                    STATUS as the shell has it; ENDED is `exited` or `signaled`, which tells exit code
#                    137 from SIGKILL; `-` stands for a figure that the runtime does not give.
# With a terminal it prints R when it can take the request, and a report of a stage `ready` when the
# program's input may come: before, the line discipline would treat it in the wrong mode.
# The mark is random for each run and never exported, so that no program prints it by chance; one that
# reads this script's memory can find it, and the server believes no report that can't be.

mode=$1 mark='' child='' pending='' trapped='' sent='' watchdog='' until_ended='' v1='' v2=''

# 3: the request, then the program's stdin; 5 and 6: its stdout and stderr. What this shell itself has
# to say ("Killed", "Terminated") is not the program's output.
exec 3<&0 4</dev/null 5>&1 6>&2 2>/dev/null

# Usage of this container: cgroup v2, else v1 (Linux: admin-guide/cgroup-v2.rst, cgroup-v1/*.rst).
cgroup=/sys/fs/cgroup
[ -r $cgroup/cpu.stat ] && v2=$cgroup
for dir in $cgroup/cpuacct $cgroup/cpu,cpuacct; do
  [ -r "$dir/cpuacct.usage" ] && v1=$dir
done

field() { # field FILE KEY: sets found to the number behind KEY in a file of "KEY NUMBER" lines
  while read -r key found; do
    [ "$key" = "$2" ] && return
  done <"$1"
  found=-
}

usage() { # sets cpu (nanoseconds), peak (bytes), kills (processes killed for want of memory)
  cpu=- peak=- kills=-
  if [ -n "$v2" ]; then
    field $cgroup/cpu.stat usage_usec
    [ "$found" = - ] || cpu=$((found * 1000))
    # Linux 5.19 and later.
    [ -r $cgroup/memory.peak ] && read -r peak <$cgroup/memory.peak
    [ -r $cgroup/memory.events ] && { field $cgroup/memory.events oom_kill; kills=$found; }
  elif [ -n "$v1" ]; then
    read -r cpu <"$v1/cpuacct.usage"
    read -r peak <$cgroup/memory/memory.max_usage_in_bytes
    field $cgroup/memory/memory.oom_control oom_kill; kills=$found
  fi
}

deliver() { # deliver SIGNAL to the program's process group, or when it starts
  trapped=1
  [ -n "$sent" ] && ! kill -0 "$child" || sent=$1
  if [ -z "$child" ]; then pending="$pending $1"
  elif [ "$mode" = tty ] && [ $$ = 1 ]; then kill -s "$1" -- -1
  else kill -s "$1" -- "-$child" || kill -s "$1" "$child"
  fi
}
for name in TERM HUP USR1 USR2; do trap "deliver $name" "$name"; done
# SIGKILL can't be trapped, and the terminal's keys send SIGINT and SIGQUIT to this script too: the
# server sends others for these three.
[ "$mode" = tty ] && trap '' INT QUIT
trap 'deliver INT' VTALRM
trap 'deliver QUIT' PROF
trap 'deliver KILL' PWR

terminal() { # terminal COLUMNS ROWS: the terminal as the program is to find it
  stty sane columns "$1" rows "$2" <&3
  printf '%s ready 0 exited - - -\n' "$mark" >&5
}

put() { # put NAME BYTES: the next BYTES bytes of stdin become the file NAME
  # Half a file's other half must not become the program's input.
  head -c "$2" >"$1" <&3 || exit 1
}

limit() { # in the child, before the program
  # SIGXCPU at the limit; SIGKILL a second later for those who ignore it.
  ulimit -S -t "$cpu_s" && ulimit -H -t $((cpu_s + 1))
  # So that the kernel, when memory runs out, takes the program and not this script.
  echo 1000 >/proc/self/oom_score_adj
}

# Only while SIGCHLD is being handled does bash still know how the job ended. It writes that to 7, a
# file without a name, to be read from 8: a command substitution would fork, which took 1.5 ms between
# the program's end and its report.
if [ -n "$BASH_VERSION" ]; then
  exec 7>/tmp/.jobs 8</tmp/.jobs
  rm /tmp/.jobs
  trap 'jobs -l >&7' CHLD
fi

if [ -n "$BASH_VERSION" ] && [ "$mode" = pipes ]; then
  # Job control gives each stage a process group of its own.
  reset=''
  job_control=m
  # Without this option (5.0) wait returns for a job that has only stopped, too.
  [ "${BASH_VERSION%%.*}" -ge 5 ] && until_ended=-f
else
  # On a terminal the program must stay in its foreground group, which is this script's. A background
  # child of a shell without job control ignores SIGINT and SIGQUIT (POSIX 2.11).
  job_control=''
  reset=''
  [ "$mode" = pipes ] && command -v setsid >/dev/null && reset=setsid
  env --default-signal=INT,QUIT true && reset="$reset env --default-signal=INT,QUIT"
fi

# bash forgets the status of a child that ends in the instant in which a trap interrupts wait (waitchld
# in its jobs.c, still in 5.3), and would wait for it for ever. The last signal that it can have got is
# then the likeliest cause.
lost() {
  [ -n "$BASH_VERSION" ] || return 1
  kill -0 "$child" && return 1
  for running in $(jobs -pr); do
    [ "$running" = "$child" ] && return
  done
  return 1
}

stage() { # stage NAME FUNCTION: run and report it; false if it failed. A build gets no stdin.
  case $1 in run) stdin=3 ;; *) stdin=4 ;; esac
  usage
  before=$cpu
  [ -n "$job_control" ] && set -m
  ( limit; "$2" ) <&$stdin >&5 2>&6 3<&- 4<&- 5>&- 6>&- 7>&- 8<&- &
  child=$! sent=''
  for signal in $pending; do deliver "$signal"; done
  pending=''
  # The server ends a run at its limit; this is for when the server itself has died.
  { trap '' INT QUIT # the terminal's keys are not meant for it
    sleep "$wall_s" && { kill -s KILL -- "-$child" || kill -s KILL "$child"; }
  } <&4 >&4 2>&4 3<&- 5>&- 6>&- 7>&- 8<&- &
  watchdog=$!
  status=''
  while :; do
    # A trapped signal interrupts wait, whose status is then not the child's.
    trapped=''
    wait $until_ended "$child"; code=$?
    if [ "$code" != 127 ] || [ -z "$status" ]; then status=$code; fi
    [ -n "$trapped" ] || break
    if lost; then
      status=$((128 + $(kill -l "$sent")))
      break
    fi
  done
  usage
  ended=exited
  if [ "$status" -gt 128 ] || [ "$status" -lt 0 ]; then
    # What bash says of the job is surer than the status: 139 may be an exit code or SIGSEGV, and of
    # a job that stopped before it ended, or when a trap came in between, wait gives other numbers.
    ended=signaled
    while [ -n "$BASH_VERSION" ] && read -r job <&8; do
      case " $job" in
      *" $child Done "*) status=0 ended=exited ;;
      *" $child Exit "*)
        status=${job#*" $child Exit "} ended=exited
        status=${status%%[!0-9]*}
        ;;
      esac
    done
  fi
  child=''
  kill -s KILL -- "-$watchdog" || kill -s KILL "$watchdog"
  [ "$cpu" = - ] || cpu=$((cpu - before))
  [ "$mode" = tty ] || printf %s "$mark" >&5
  printf '%s %s %s %s %s %s %s\n' "$mark" "$1" "$status" "$ended" "$cpu" "$peak" "$kills" >&6
  [ "$status" = 0 ]
}

[ "$mode" = tty ] && stty raw -echo <&3 && printf R >&5
if [ -n "$BASH_VERSION" ] && [ "$mode" = pipes ]; then
  # Without a process; on a terminal bash's read would take more than the line.
  read -r mark size <&3 || exit 0
  LC_ALL=C IFS= read -r -N "$size" script <&3
else
  set -- $(head -c 45 <&3)
  mark=$1
  script=$(head -c "$2" <&3; echo x)
  script=${script%x}
fi
[ -n "$mark" ] || exit 0
eval "$script"

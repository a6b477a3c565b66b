# The first process of every container: waits for one request, runs its stages, reports how each ended.
#
# Run by bash where the image has it (all glot images do), else by sh, as `… -c BOOTSTRAP wsrunner MODE`
# with MODE `pipes`, `tty` or `space` (pipes in a workspace, whose first process is `space.sh`); needs head, mkdir, rm and sleep besides. In bash a stage gets a process
# group of its own by job control; elsewhere setsid does it, where there is one. A further word is
# shell that starts a program ahead of its request (see `ahead`), which takes bash, pipes and mkfifo; empty
# for none. The last word is `peek.sh`, which is read only where somebody wants to know what it finds.
#
# Request on stdin:  MARK BYTES\n, padded to 45 bytes, then BYTES bytes of shell that call limits, put,
#                    notice, drop or give, terminal, stage and files; what follows on stdin belongs to `put`,
#                    then to the program.
# Report of a stage: MARK on stdout, and on stderr (with a terminal on its one stream, once)
#                    MARK STAGE STATUS ENDED WALL_NS CPU_NS PEAK_BYTES OOM_KILLS\n
#                    STATUS as the shell has it; ENDED is `exited` or `signaled`, which tells exit code
#                    137 from SIGKILL; `-` stands for a figure that can't be told here.
# Notice:            MARK !waiting\n or MARK !running\n on stderr (with a terminal on its one stream), without the
#                    blank, if notices are asked for: whether the program waits for input.
# Files, if any are asked for, come after the last report: as tar archives on stdout, none
# where there is no file, then `end STATUS\n`.
# With a terminal, or a program to start ahead, it prints \036R when it can take the request. With a
# terminal it prints a report of a stage `ready` when the program's input may come: before, the line
# discipline would treat it in the wrong mode.
# The mark is random for each run and never exported, so that no program prints it by chance; one that
# reads this script's memory can find it, and the server believes no report that can't be.
#
# The processes, all but the program there before the request comes:
#
#   the first    notes signals and passes them on to the program; waits for nothing but the keeper
#   └─ keeper    reads the request, starts the stages, waits for them, reports; traps no signal: bash
#      │         forgets the status of a child that ends in the instant in which a trap interrupts
#      │         wait (waitchld in its jobs.c, still in 5.3)
#      ├─ watchdog; a workspace has its own
#      └─ the program of a stage
#
# When the keeper has gone, the first process ends and the container with it.

mode=$1 ahead=$2 peek=$3 mark='' child='' waiting='' news='' v1='' v2='' notes=/tmp space=''
programs=$notes/.child signals=$notes/.waiting
# In a workspace an earlier run may have left anything in /tmp: its first process hands two files over.
[ "$mode" = space ] && mode=pipes space=1 programs=/proc/self/fd/4 signals=/proc/self/fd/7

note() { # note SIGNAL: it waits for the program; all that a trap does
  case " $waiting " in
  *" $1 "*) ;;
  *) waiting="$waiting $1" ;;
  esac
  news=$$
}

for name in TERM HUP USR1 USR2; do trap "note $name" "$name"; done
# SIGKILL can't be trapped, and the terminal's keys send SIGINT and SIGQUIT to this script too: the
# server sends others for these three.
[ "$mode" = tty ] && trap '' INT QUIT
trap 'note INT' VTALRM
trap 'note QUIT' PROF
trap 'note KILL' PWR
trap 'news=$$' URG
# From now on a workspace's first process may pass signals on.
[ -z "$space" ] || echo $$ >&9

# 3: the request, then the program's stdin; 5 and 6: its stdout and stderr. What these shells
# themselves have to say ("Killed", "Terminated") is not the program's output.
exec 3<&0 5>&1 6>&2 </dev/null >/dev/null 2>&1
# Files without a name: 9 to 8 says which program runs, 7 to 4 that a signal waits for one.
exec 9>$programs 8<$programs 7>$signals 4<$signals
[ -z "$space" ] || programs=/proc/self/fd/9

# The first process.

look() { # sets child to the program that runs, none if there is none, and stage to what it is of
  while read -r what pid stage_ <&8; do
    case $what in
    child) child=$pid stage=$stage_ ;;
    notice) mark=$pid ;;
    esac
  done
}

send() { # send SIGNAL to the program's process group
  if [ "$mode" = tty ] && [ $$ = 1 ]; then
    # It is in the group of these shells, and may have made others.
    for dir in /proc/[0-9]*; do
      case $dir in
      /proc/1 | "/proc/$keeper") ;;
      *) kill -s "$1" "${dir#/proc/}" ;;
      esac
    done
    return 0
  fi
  kill -s "$1" -- "-$child" || kill -s "$1" "$child"
}

hand_over() { # sends what waits to the program, or leaves it until one starts
  while [ -n "$waiting" ]; do
    look
    if [ -z "$child" ]; then
      # The keeper first tells of the program, then looks for this; whichever is later sees the other.
      echo >&7
      look
    fi
    [ -n "$child" ] || return
    taken=$waiting waiting=''
    for signal in $taken; do
      # A build that has just ended leaves it to the run.
      send "$signal" || child='' waiting="$waiting $signal"
    done
  done
}

# The keeper.

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

clock() { # sets now (microseconds since some time), tick (how far it may be behind)
  now=$EPOCHREALTIME tick=0 # bash 5
  if [ -z "$now" ]; then
    read -r now _ </proc/uptime || now=''
    now=${now}0000 tick=10000
  fi
  case $now in
  [0-9]*[.,][0-9]*) now=${now%[.,]*}${now#*[.,]} ;;
  *) now='' ;;
  esac
}

limits() { # limits CPU_S WALL_S: those of each process, and of all stages together
  cpu_s=$1 wall_s=$2
  [ -n "$guarded" ] || [ -z "$BASH_VERSION" ] || echo "$wall_s" >&8
}

terminal() { # terminal COLUMNS ROWS: the terminal as the program is to find it
  stty sane columns "$1" rows "$2" <&3
  printf '%s ready 0 exited - - - -\n' "$mark" >&5
}

notice() { # have it told when the program wants input
  echo "notice $mark" >&9
  kill -s URG $$
}

put() { # put NAME BYTES: the next BYTES bytes of stdin become the file NAME
  # Half a file's other half must not become the program's input.
  head -c "$2" >"$1" <&3 || unwritten "$1"
}

unwritten() { # unwritten NAME: tells that it can't be made, as in a workspace, and ends
  printf 'wsrunner: cannot write %s: there is no room, or something is in its place\n' "$1" >&6
  [ "$mode" = tty ] || printf %s "$mark" >&5
  printf '%s %s 1 exited - - - -\n' "$mark" "$first" >&6
  exit 1
}

launch() { # launch STAGE FUNCTION: sets child to the process that becomes the program
  case $1 in run) stdin=3 ;; *) stdin=0 ;; esac # a build gets no stdin
  case $merge in 1) stderr=5 ;; *) stderr=6 ;; esac
  [ -n "$job_control" ] && set -m
  ( limit; "$2" ) <&$stdin >&5 2>&$stderr 3<&- 4<&- 5>&- 6>&- 7<&- 8>&- 9>&- &
  child=$!
}

limit() { # in the child, before the program
  # SIGXCPU at the limit; SIGKILL a second later for those who ignore it.
  ulimit -S -t "$cpu_s" && ulimit -H -t $((cpu_s + 1))
  # So that the kernel, when memory runs out, takes the program and not its keeper.
  echo 1000 >/proc/self/oom_score_adj
  # bash would tell the program what was started last, here.
  [ -z "$BASH_VERSION" ] || export -n _
}

# The server ends a run at its limit; this is for when the server itself has died. Everything but the
# first process is killed, which ends that.
watch() { # in bash, there before the request: reads the seconds, then waits for the keeper's end
  trap '' HUP INT QUIT TERM USR1 USR2 # a terminal's program gets them by its keys, or with all others
  read -r wall_s || return
  read -r -t "$wall_s" _
  [ $? -gt 128 ] && kill -s KILL -- -1
}

guard() { # elsewhere, beside the first stage
  { trap '' HUP INT QUIT TERM USR1 USR2
    sleep "$wall_s" && kill -s KILL -- -1
  } 3<&- 4<&- 5>&- 6>&- 7<&- 8>&- 9>&- &
}

# A program that is started ahead comes up and waits for its source, as its main file is a FIFO. The
# request gives it the source, or drops it.

ahead() { # ahead STAGE FILE CPU_S: start `begin` so, and wait until it has opened FILE
  mkfifo "$2" || return
  cpu_s=$3
  launch "$1" begin; started=$child
  # Open for both, this never blocks, and no reader comes to the end before it is closed.
  exec {fifo}<>"$2"
  SECONDS=0
  until has_opened "$2"; do
    { [ "$SECONDS" -lt 20 ] && kill -0 "$started"; } || { drop; break; }
    read -r -t 0.02 _ <&"$fifo" # a pause without a process
  done
  # Whoever opens it a second time is to find the file itself.
  rm "$2"
}

has_opened() { # has_opened FILE: whether the program has, or a child of it (clang's compiler is one)
  read -r children <"/proc/$started/task/$started/children"
  for pid in $started $children; do
    for fd in "/proc/$pid/fd/"*; do
      [ "$fd" -ef "$1" ] && return
    done
  done
  return 1
}

give() { # give TEXT: the first stage is what was started; TEXT is its source, and is in its file
  given=1 text=$1
}

drop() { # drop [SAME]: as if nothing had been started
  [ -n "$started" ] || return 0
  kill -s KILL -- "-$started"
  wait "$started"
  started=''
  exec {fifo}>&-
  # What bash has said of its end.
  while read -r _ <&7; do :; done
  # A plan that begins with the SAME has its peak of memory anyway. Another is not charged with it.
  [ -n "${1-}" ] || { usage; peak_before=$peak; }
  # In a container all that is there now is from what was started, such as clang's object file.
  [ $$ = 1 ] || return 0
  for left in /tmp/* ./* ./.[!.]*; do
    [ -e "$left" ] && rm -rf "$left"
  done
  return 0
}

end_all() { # ends whatever the program has left behind: what is read now does not change any more
  [ $$ = 1 ] || return 0
  tries=0
  while [ $tries -lt 100 ]; do
    # All but the first process and this one.
    kill -s KILL -- -1 || break
    # They take a moment to go; most often less than a process would take that sleeps.
    [ $tries -lt 50 ] || sleep 0.02
    tries=$((tries + 1))
  done
}

files() { # files TEST...: what `find` finds by the tests goes out, links and devices as what they are
  if [ "$mode" = tty ]; then
    # tar itself refuses to write to a terminal.
    pack "$@" | cat >&5
  else
    pack "$@" >&5
  fi
}

pack() { # pack TEST...: writes an archive
  command -v find >&2 && command -v tar >&2 && find . "$@" -exec tar -cf - -- '{}' +
  echo "end $?"
}

stage() { # stage NAME FUNCTION: run and report it; false if it failed
  # The wall clock's interval has the CPU clock's within it; `times` has the kernel add what this shell
  # has used since it last slept, which would else be the stage's.
  clock; began=$now
  times
  usage; cpu_before=$cpu
  if [ -n "$given" ] && kill -0 "$started"; then
    # Before a signal can reach it, which would end its read with half a source.
    printf %s "$text" >&"$fifo"
    exec {fifo}>&-
    child=$started started=''
  else
    drop same
    launch "$@"
  fi
  given=''
  echo "child $child $1" >&9
  read -r _ <&4 && kill -s URG $$
  [ -n "$BASH_VERSION" ] || [ -n "$guarded" ] || guard
  guarded=1
  # Not with -f, which spins while the program is stopped (bash 5.2); without it a subshell like this
  # waits for its end just the same.
  wait "$child"; status=$?
  usage
  clock
  echo child >&9
  ended=exited
  if [ "$status" -gt 128 ]; then
    # 139 may be an exit code or SIGSEGV: what the shell says of the job tells.
    [ -n "$BASH_VERSION" ] || jobs -l >&9
    ended=signaled
    while read -r job <&7; do
      case " $job" in *" $child Done"* | *" $child Exit "*) ended=exited ;; esac
    done
  fi
  wall=-
  # The clock may have been set meanwhile.
  [ -n "$began" ] && [ -n "$now" ] && [ "$now" -ge "$began" ] && wall=$((now + tick - began))000
  [ "$cpu" = - ] || cpu=$((cpu - cpu_before))
  if [ "$1" = "$last" ]; then
    end_all
    # Before the report: what is typed now is not to be echoed into the archives.
    [ "$mode" = tty ] && stty raw -echo <&3
  fi
  # The peak is the container's: it tells of this stage only if none before needed more.
  own=$peak
  [ "$peak" = "$peak_before" ] && own=-
  peak_before=$peak
  [ "$kills" = - ] || kills=$((kills - kills_before))
  [ "$mode" = tty ] || printf %s "$mark" >&5
  printf '%s %s %s %s %s %s %s %s\n' "$mark" "$1" "$status" "$ended" "$wall" "$cpu" "$own" "$kills" >&6
  [ "$status" = 0 ]
}

keep() {
  exec 7<$programs
  [ -n "$space" ] || rm $programs $signals
  cpu_before='' peak_before='' kills_before=0 first=run merge='' last='' job_control='' reset='' shell=sh
  started='' given='' # a program that was started ahead, and whether the request takes it
  [ -n "$BASH_VERSION" ] && shell=bash
  # A workspace's earlier runs are not this one's.
  [ -n "$space" ] && usage && peak_before=$peak kills_before=$kills
  if [ -n "$BASH_VERSION" ] && [ "$mode" = pipes ]; then
    # Job control gives each stage a process group of its own.
    job_control=m
  else
    # On a terminal the program must stay in its foreground group, which is this shell's. A background
    # child of a shell without job control ignores SIGINT and SIGQUIT (POSIX 2.11).
    [ "$mode" = pipes ] && command -v setsid && reset=setsid
    env --default-signal=INT,QUIT true && reset="$reset env --default-signal=INT,QUIT"
  fi
  # A workspace's first process guards its runs.
  guarded=$space
  if [ -n "$BASH_VERSION" ]; then
    # Only while SIGCHLD is being handled does bash know how the job ended. A command
    # substitution would fork, which took 1.5 ms between the program's end and its report.
    trap 'jobs -l >&9' CHLD
    # Other shells could not parse this.
    [ -n "$guarded" ] || eval 'exec 8> >(watch 3<&- 4<&- 5>&- 6>&- 7<&- 9>&-)'
  fi
  [ "$mode" = tty ] && stty raw -echo <&3 && printf '\036R' >&5
  if [ -n "$ahead" ]; then
    [ -n "$job_control" ] && eval "$ahead"
    printf '\036R' >&5
  fi
  if [ -n "$BASH_VERSION" ] && [ "$mode" = pipes ]; then
    # Without a process; on a terminal bash's read would take more than the line.
    read -r mark size <&3 || exit
    LC_ALL=C IFS= read -r -N "$size" script <&3
  else
    set -- $(head -c 45 <&3)
    mark=$1
    script=$(head -c "$2" <&3; echo x)
    script=${script%x}
  fi
  [ -n "$mark" ] || exit
  eval "$script"
}

# With job control, so that the keeper does not ignore SIGINT.
[ -n "$BASH_VERSION" ] && [ "$mode" = pipes ] && set -m
( keep ) &
keeper=$!
exec 3<&- 4<&- 5>&- 9>&-
# A trap only notes its signal: in dash each command within a trap may lose its status to the next
# signal's trap. This shell itself is no child to wait for, so that news since the last turn of this
# loop makes wait return at once; later ones interrupt it, and may make bash forget that the keeper
# has ended.
peeks=''
while kill -0 "$keeper"; do
  if [ -n "$peeks" ]; then
    peek
  else
    wait "${news:-$keeper}"
    look
  fi
  news=''
  hand_over
  if [ -n "$mark" ] && [ -z "$peeks" ]; then
    [ -n "$BASH_VERSION" ] && eval "$peek" && can_peek && peeks=1
    [ -n "$peeks" ] || mark=''
  fi
done

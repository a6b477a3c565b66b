# The first process of a workspace's container: has run after run carried out, and ends all of each.
#
# Run by bash as `… -c SPACE wsrunner UID BOOTSTRAP PEEK [LASTS_S]`, as root with no more than CAP_CHOWN,
# CAP_KILL, CAP_SETUID and CAP_SETGID; needs setpriv, chown, rm, head, find and ipcrm besides. Runs go as
# UID, so that no program can signal, trace or read this process and its helpers. Between two runs
# UID has no process but those of the next run's bootstrap, which waits for its request.
#
# It prints \036R when it is ready. Then, for each run, comes on stdin
#
#   TOKEN\n              starts the bootstrap; random, and told to nobody else. Answered with the report
#                        of a stage `up` (below) when signals can be taken
#   WALL_S\n             how long the run may take at most; its beginning. Before it come as many empty
#                        lines as the server likes
#   BYTES\n and bytes    over and over: for the bootstrap's stdin, its request first; 0 ends that.
#                        With a `t` before BYTES where they are few and without a NUL
#
# and goes out, when nothing of the run is there any more, a report of a stage `over`: TOKEN on stdout,
# and on stderr
#
#   TOKEN over 0 exited - - - OOM_KILLS\n
#
# What is still on stdin then belongs to nobody, up to a line that is the TOKEN. SIGURG ends a run
# that is up.
#
# With LASTS_S another server may go on where one has left, or died: stdin stays open, and what ends it
# is that nothing has come for so many seconds while no run goes on.
#
#   the first    passes signals on to the bootstrap, kills, cleans up
#   ├─ feeder    stdin → the bootstrap's, by pieces, as stdin itself is to stay open
#   │  └─ watchdog, for when the server has died
#   └─ UID's: the bootstrap, see there, and what the program starts

uid=$1 bootstrap=$2 peek=$3 token='' run='' news='' kills=-
patience=(${4:+-t "$4"})

# Each process here would first read the files of its language. The programs' is what the image says.
language='export -n LC_ALL'
[ -z "${LC_ALL+x}" ] || printf -v language 'LC_ALL=%q' "$LC_ALL"
export LC_ALL=C

# 3: what the server says; 5 and 6: stdout and stderr of runs.
exec 3<&0 5>&1 6>&2 </dev/null >/dev/null 2>&1
# Open for both, these pipes never come to an end. 7: nothing comes; 8: a bootstrap says its number.
exec 7<> <(:) 8<> <(:)
# A bootstrap's notes: two files without a name, which each bootstrap first makes empty. To be rid of
# names of its own took it a process. They are root's, so that no program can change their mode.
( umask 0; : >/dev/shm/.programs >/dev/shm/.signals )
exec 10<>/dev/shm/.programs 11<>/dev/shm/.signals

as_user() { # as_user WORD...: becomes that command, as the user, who gains nothing by being started here
  exec setpriv --reuid "$uid" --regid "$uid" --clear-groups -- "$@"
}

pause() { # pause SECONDS, without a process
  read -r -t "$1" _ <&7
}

feed() {
  wall_s=''
  while [ -z "$wall_s" ]; do
    read -r "${patience[@]}" wall_s <&3 || exit
  done
  pass_on || exit
  # Once the request is on its way.
  watch >/dev/null 3<&- &
  while pass_on; do :; done
  # The server is gone.
  kill -s KILL -- -1
}

pass_on() { # passes a piece on; false when no more comes
  read -r size <&3 || return
  case $size in
  0) exec >/dev/null ;;
  t*) IFS= read -r -N "${size#t}" text <&3 && printf %s "$text" || exit ;;
  *) head -c "$size" <&3 || exit ;;
  esac
}

watch() {
  pause "$wall_s"
  # Its time is over; nothing else ends everything.
  [ $? -gt 128 ] && kill -s KILL -- -1
}

start() { # becomes the bootstrap
  # A program may open /dev/stdin, /dev/stdout and /dev/stderr by name.
  chown "$uid" /proc/self/fd/0
  # It gets stdout and stderr as open files of its own: O_NONBLOCK is the file's, not the process's.
  # An earlier run may have changed the pipes' mode, as their owner; so can this.
  as_user bash -c "$language
reopen() { exec >/proc/self/fd/1 2>/proc/self/fd/2; }
reopen || { chmod 600 /proc/self/fd/1 /proc/self/fd/2; reopen; }
$bootstrap" wsrunner space '' "$peek"
}

report() { # report STAGE
  printf %s "$token" >&5
  printf '%s %s 0 exited - - - %s\n' "$token" "$1" "$kills" >&6
}

wait_up() { # waits until the bootstrap says that it has set its traps, or has ended
  up=''
  while kill -0 "$run"; do
    # Where the second is over in the middle of a line, its beginning has been read.
    read -r -t 1 part <&8 && whole=1 || whole=''
    up=$up$part
    [ -n "$whole" ] || continue
    [ "$up" = "$run" ] && return
    up=''
  done
}

pass() { # pass SIGNAL to the bootstrap, which knows the program
  news=1
  [ -z "$run" ] || kill -s "$1" "$run"
}

end() { # ends every process but this one: a single call of the kernel, which no fork can outrun
  news=1
  kill -s KILL -- -1
}

end_all() { # the same, and waits until they are gone
  tries=0
  while end; do
    tries=$((tries + 1))
    [ $tries -lt 50 ] || pause 0.002
  done
}

is_clean() { # whether no memory is left that outlives its process and is no file
  for left in /dev/shm/* /dev/shm/.[!.]* /dev/shm/..?* /dev/mqueue/* /dev/mqueue/.[!.]* /dev/mqueue/..?*; do
    { [ -e "$left" ] || [ -L "$left" ]; } && return 1
  done
  for kind in shm msg sem; do
    { read -r _; read -r _ && return 1; } <"/proc/sysvipc/$kind"
  done
  return 0
}

clean_up() {
  is_clean && return
  ( as_user find /dev/shm /dev/mqueue -mindepth 1 -delete )
  ( as_user ipcrm --all )
  is_clean || exit
}

count_oom_kills() { # sets kills
  for file in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
    [ -r "$file" ] || continue
    while read -r key kills; do
      [ "$key" = oom_kill ] && return
    done <"$file"
  done
  kills=-
}

rm /dev/shm/.programs /dev/shm/.signals && chown "$uid" /proc/self/fd/5 /proc/self/fd/6 &&
  command -v setpriv find ipcrm || exit
# With job control, so that what is started here does not ignore SIGINT.
set -m
for name in TERM HUP USR1 USR2 VTALRM PROF PWR; do trap "pass $name" "$name"; done
trap end URG
printf '\036R' >&5

while read -r "${patience[@]}" token <&3; do
  exec 4< <(feed 5>&- 6>&- 8>&- 10<&- 11<&-)
  # As a job: what is started otherwise ignores the signals of terminals.
  start <&4 >&5 2>&6 9>&8 4<&10 7<&11 3<&- 5>&- 6>&- 8>&- 10<&- 11<&- &
  run=$!
  exec 4<&-
  wait_up
  report up
  # A trap makes wait return, and may make bash forget the status, but not that there is one.
  news=1
  while [ -n "$news" ]; do
    news=''
    wait "$run"
  done
  run=''
  end_all
  clean_up
  count_oom_kills
  report over
  while IFS= read -r "${patience[@]}" line <&3; do
    [ "$line" = "$token" ] && continue 2
  done
  exit
done

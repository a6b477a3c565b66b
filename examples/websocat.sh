#!/bin/sh
# The plain protocol with websocat: source in, output out.
set -eu
url=${WSRUNNER_URL:-ws://127.0.0.1:8001}

# -b sends all that is read as one message, the whole source; -n keeps the socket open for the
# output when there is no more to read.
websocat -nb "$url/v1/run/python" <<'END'
for number in range(3):
    print(number)
END

# Without -b each line is a message: the first is the source, those behind it are stdin.
websocat -n "$url/v1/run/python" <<'END'
print("Hello,", input())
Ada
END

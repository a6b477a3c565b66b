import std/os

for argument in commandLineParams(): echo argument
echo getEnv("GREETING")
quit 7

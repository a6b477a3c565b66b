-module(tool).
-export([twice/1]).

twice(N) -> 2 * N.

-module(main).
-export([main/1]).

main(_) ->
    {ok, [Number]} = io:fread("number? ", "~d"),
    io:format("~w~n", [Number * Number]).

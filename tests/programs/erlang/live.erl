-module(main).
-export([main/1]).

main(_) ->
    io:format("one~n"),
    io:get_line(""),
    io:format("two~n").

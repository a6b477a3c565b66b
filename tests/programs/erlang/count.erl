-module(main).
-export([main/1]).

main(_) -> io:format("~w~n", [count(0)]).

count(Lines) ->
    case io:get_line("") of
        eof -> Lines;
        _ -> count(Lines + 1)
    end.

-module(main).
-export([main/1]).

main(_) ->
    os:cmd("kill -SEGV " ++ os:getpid()),
    timer:sleep(60000).

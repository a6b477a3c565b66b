.say for @*ARGS;
say %*ENV<GREETING>;
exit 7;

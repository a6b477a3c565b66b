program Crash;
uses baseUnix;
begin
  fpSignal(SIGSEGV, SignalHandler(SIG_DFL));
  fpKill(fpGetPid, SIGSEGV);
end.

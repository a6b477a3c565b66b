program Arguments;
uses dos;
var i: integer;
begin
  for i := 1 to paramCount do writeln(paramStr(i));
  writeln(getEnv('GREETING'));
  halt(7);
end.

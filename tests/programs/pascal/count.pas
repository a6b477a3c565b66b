program Count;
var lines: integer;
begin
  lines := 0;
  while not eof do
  begin
    readln;
    lines := lines + 1;
  end;
  writeln(lines);
end.

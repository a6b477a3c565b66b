program Live;
begin
  writeln('one');
  readln;
  writeln('two');
end.

program Hello;
begin
  writeln('hello');
end.

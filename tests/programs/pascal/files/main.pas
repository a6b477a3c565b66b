program Main;
uses tool;
begin
  writeln(twice(21));
end.

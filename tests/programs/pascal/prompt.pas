program Prompt;
var number: integer;
begin
  write('number? ');
  readln(number);
  writeln(number * number);
end.

import std.stdio, tool;

void main() { writeln(twice(21)); }

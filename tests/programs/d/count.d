import std.stdio;

void main() {
    int lines;
    foreach (line; stdin.byLine) lines++;
    writeln(lines);
}

import std.stdio;

void main() {
    write("one\n");
    readln();
    write("two\n");
}

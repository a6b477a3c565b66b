import std.stdio;

void main() {
    int number;
    write("number? ");
    readf(" %d", &number);
    writeln(number * number);
}

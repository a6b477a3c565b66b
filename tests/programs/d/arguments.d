import std.process, std.stdio;

int main(string[] args) {
    foreach (argument; args[1 .. $]) writeln(argument);
    writeln(environment["GREETING"]);
    return 7;
}

using System;

class Program {
    static int Main(string[] args) {
        foreach (var argument in args) Console.WriteLine(argument);
        Console.WriteLine(Environment.GetEnvironmentVariable("GREETING"));
        return 7;
    }
}

using System;

class Program {
    static void Main() {
        int lines = 0;
        while (Console.ReadLine() != null) lines++;
        Console.WriteLine(lines);
    }
}

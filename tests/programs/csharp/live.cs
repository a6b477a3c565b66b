using System;

class Program {
    static void Main() {
        Console.Write("one\n");
        Console.ReadLine();
        Console.Write("two\n");
    }
}

using System;

class Program {
    static void Main() {
        Console.Write("number? ");
        int number = int.Parse(Console.ReadLine());
        Console.WriteLine(number * number);
    }
}
